package emulator

const (
	iamVersion   = "2010-05-08"
	iamService   = "iam"
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"

	sourceIAM = "iam.amazonaws.com"
)

// iamOperations are the operations of IAM that the emulator implements.
var iamOperations = map[string]func(*Server, *queryRequest) (any, error){}
