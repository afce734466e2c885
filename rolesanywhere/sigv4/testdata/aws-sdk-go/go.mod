module github.com/holdfast-dev/holdfast/rolesanywhere/sigv4/testdata/aws-sdk-go

go 1.26.0

require github.com/aws/aws-sdk-go-v2 v1.47.7

require github.com/aws/smithy-go v1.28.8 // indirect
