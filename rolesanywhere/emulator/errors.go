package emulator

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// ErrBasicConstraints is returned by [New] for a trust anchor whose certificate
// is not a CA certificate. CreateTrustAnchor returns the same message with a
// capital letter.
var ErrBasicConstraints = errors.New("incorrect basic constraints for CA certificate")

// The service's own messages, verbatim.
//
// Source: messages that users of IAM Roles Anywhere have received.
const (
	msgInsufficient     = "Untrusted certificate. Insufficient certificate"
	msgUntrusted        = "Untrusted signing certificate"
	msgInvalidSignature = "Invalid signature"
	msgBasicConstraints = "Incorrect basic constraints for CA certificate"
	msgAssume           = "Unable to assume role for %s"
	msgMaxDuration      = msgAssume + ". The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
	msgTags             = msgAssume + ". Some attributes failed to be mapped into session tags. Issuer: [ %s ]; Subject: [ %s ]; SAN: [ %s ]"
	msgSessionName      = "Not authorized to set roleSessionName."
)

// Messages of the emulator, for errors whose message is not documented.
const (
	msgForeign          = "This is an emulator of IAM Roles Anywhere, IAM, STS, CloudTrail and AWS Private CA on your machine. It does not know the service %s."
	msgCBOR             = "The emulator answers %s only in the protocol JSON 1.1, not in RPC v2 CBOR"
	msgUnknownPath      = "No such operation: %s %s"
	msgRPCOperation     = "The emulator does not implement the operation %q of the service %q"
	msgRPCProtocol      = "The operation %s needs the method POST and the content type %s"
	msgWebPage          = "Requests of web pages are refused"
	msgBody             = "Request body: %v"
	msgParameter        = "Parameter %s: %v"
	msgNotFound         = "Resource not found: %s"
	msgMalformed        = "Missing or malformed signature: %v"
	msgExpired          = "Untrusted certificate. It expired at %s"
	msgNotYetValid      = "Untrusted certificate. It is not valid before %s"
	msgRevoked          = "Untrusted certificate. The certificate with serial number %s of %s is revoked"
	msgSignatureExpired = "Signature expired: %s is more than %v before %s"
	msgSignatureFuture  = "Signature not yet current: %s is more than %v after %s"
	msgAnchorDisabled   = "Trust anchor is disabled: %s"
	msgDisabled         = "Profile is disabled: %s"
	msgProperties       = "Profile requires instance properties: %s"
	msgToken            = "The token of the page is invalid"
	msgRevocation       = "Untrusted certificate. Its revocation status cannot be determined"
	msgQuota            = "At most %d %s are allowed"
	msgTooManyTags      = "A resource has at most %d tags"
	msgInjected         = "Fault injected by configuration"

	msgSTSAction      = "Could not find operation %s for version %s"
	msgSTSMissing     = "Request is missing a single Action parameter"
	msgSTSNoToken     = "Request is missing Authentication Token"
	msgSTSIncomplete  = "The request signature does not conform to AWS standards: %s"
	msgSTSInvalid     = "The security token included in the request is invalid."
	msgSTSExpired     = "The security token included in the request is expired"
	msgSTSSignature   = "The request signature we calculated does not match the signature you provided."
	msgSTSScope       = "Credential should be scoped to service %s, not to %s."
	msgSTSRegion      = "Credential should be scoped to region %s, not to %s."
	msgSTSInvalidForm = "Request parameters: %v"
	msgSTSConstraint  = "1 validation error detected: Value at '%s' failed to satisfy constraint: %s"
	msgSTSARN         = "%s is invalid"
	msgSTSTagReserved = "Tag keys must not begin with aws:"

	msgIAMDocument    = "The policy document is invalid: %v"
	msgIAMPadding     = "The policy documents have %d bytes with their white space; the emulator keeps at most %d; remove white space"
	msgIAMUnsupported = "The emulator cannot evaluate this trust policy, which AWS may accept: %v"
)

// STS's own messages about AssumeRole, verbatim. For the last one the code is not
// known.
//
// Source: messages that users of STS have received.
const (
	msgSTSDenied      = "User: %s is not authorized to perform: %s on resource: %s"
	msgSTSChained     = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
	msgSTSTagTwice    = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
	msgSTSTransitive  = "The specified transitive tag key must be included in the requested tags."
	msgSTSTagConflict = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."
	msgSTSPacked      = "Packed size of session tags consumes %d%% of allotted space."
	msgSTSMaxDuration = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
	msgSTSSource      = "The source identity is already set for this assume role session"

	msgRate = "Rate exceeded"
)

// IAM's own messages, verbatim.
//
// Source: messages that users of IAM have received.
const (
	msgIAMRole           = "The role with name %s cannot be found."
	msgIAMRoleExists     = "Role with name %s already exists."
	msgIAMUser           = "The user with name %s cannot be found."
	msgIAMInline         = "The role policy with name %s cannot be found."
	msgIAMPolicy         = "Policy %s was not found."
	msgIAMAttach         = "Policy %s does not exist or is not attachable."
	msgIAMPolicyExists   = "A policy called %s already exists. Duplicate names are not allowed."
	msgIAMVersion        = "Policy %s version %s does not exist or is not attachable."
	msgIAMAttached       = "Cannot delete entity, must detach all policies first."
	msgIAMHasInline      = "Cannot delete entity, must delete policies first."
	msgIAMPolicyAttached = "Cannot delete a policy attached to entities."
	msgIAMQuota          = "Cannot exceed quota for %s: %d"
	msgIAMInlineSize     = "Maximum policy size of %d bytes exceeded for role %s"
	msgIAMName           = "The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
	msgIAMPath           = "The specified value for %s is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."
	msgIAMARN            = "ARN %s is not valid."
)

// Messages about AWS Private CA. The first two come from AWS.
//
// Source: messages that users of AWS Private CA have received.
const (
	msgAlgorithm = "Signing algorithm %s cannot be used with key type %s. Valid signing algorithms are: %s."
	msgCAState   = "The certificate authority is not in a valid state for issuing certificates"

	msgNoPrivateCA  = "No private CA is configured; start the emulator with the key of a private CA"
	msgInvalidARN   = "%s is not the ARN of such a resource"
	msgTemplate     = "The emulator does not support the template %s"
	msgValidity     = "The validity exceeds that of the certificate authority"
	msgValidityPast = "The validity ends in the past"
	msgShortLived   = "A short-lived certificate is valid for at most 7 days"
	msgCSR          = "The certificate signing request is invalid: %v"
	msgLimit        = "The CA has issued too many certificates"
	msgInProgress   = "The certificate is not issued yet"
)

// Messages of the emulator about CloudTrail.
const (
	msgTrailAttribute = "Lookup attributes: %v"
	msgTrailCategory  = "The event category %s does not exist"
	msgTrailResults   = "MaxResults is %d, which is not between 1 and %d"
	msgTrailTimes     = "The time range is invalid: %v"
)

// The codes of restJson1 errors. The service model has only the first three;
// the others are common to AWS services.
const (
	codeAccessDenied = "AccessDeniedException"
	codeNotFound     = "ResourceNotFoundException"
	codeValidation   = "ValidationException"
	codeThrottling   = "ThrottlingException"
	codeInternal     = "InternalServerException"
	codeUnavailable  = "ServiceUnavailableException"
	codeUnknown      = "UnknownOperationException"
	codeTooManyTags  = "TooManyTagsException"
)

// The codes of STS errors.
const (
	codeMissingAction    = "MissingAction"
	codeInvalidAction    = "InvalidAction"
	codeSTSValidation    = "ValidationError"
	codeMissingToken     = "MissingAuthenticationToken"
	codeIncomplete       = "IncompleteSignature"
	codeInvalidToken     = "InvalidClientTokenId"
	codeExpiredToken     = "ExpiredToken"
	codeSignatureNoMatch = "SignatureDoesNotMatch"
	codeSTSDenied        = "AccessDenied"
	codeSTSParameter     = "InvalidParameterValue"
	codeSTSThrottling    = "Throttling"
	codeSTSPacked        = "PackedPolicyTooLarge"
	codeSTSInternal      = "InternalFailure"
)

// The codes of errors of IAM, besides codes above.
const (
	codeIAMNotFound  = "NoSuchEntity"
	codeIAMExists    = "EntityAlreadyExists"
	codeIAMConflict  = "DeleteConflict"
	codeIAMLimit     = "LimitExceeded"
	codeIAMMalformed = "MalformedPolicyDocument"
	codeIAMInput     = "InvalidInput"
	codeIAMInternal  = "ServiceFailure"
)

// The codes of errors of AWS Private CA, besides codes above. All of them have the
// status 400 there, except for faults of the server.
const (
	codeInvalidARN    = "InvalidArnException"
	codeInvalidArgs   = "InvalidArgsException"
	codeInvalidState  = "InvalidStateException"
	codeLimit         = "LimitExceededException"
	codeMalformedCSR  = "MalformedCSRException"
	codeInProgress    = "RequestInProgressException"
	codeSerialization = "SerializationException"
)

// The codes of errors of LookupEvents of CloudTrail, besides codes above. All of them have
// the status 400 there.
//
// Source: service model of CloudTrail, as in the AWS SDK for Go, service/cloudtrail
// v1.56.0.
const (
	codeTrailAttributes = "InvalidLookupAttributesException"
	codeTrailCategory   = "InvalidEventCategoryException"
	codeTrailResults    = "InvalidMaxResultsException"
	codeTrailToken      = "InvalidNextTokenException"
	codeTrailTimes      = "InvalidTimeRangeException"
)

// jsonCodes are the codes of errors of STS about a signature as services with
// JSON protocols name them.
var jsonCodes = lookup.Table[string, string]{
	{codeMissingToken, "MissingAuthenticationTokenException"},
	{codeIncomplete, "IncompleteSignatureException"},
	{codeInvalidToken, "UnrecognizedClientException"},
	{codeExpiredToken, "ExpiredTokenException"},
	{codeSignatureNoMatch, "InvalidSignatureException"},
}

var statuses = lookup.Table[string, int]{
	{codeAccessDenied, http.StatusForbidden},
	{codeNotFound, http.StatusNotFound},
	{codeValidation, http.StatusBadRequest},
	{codeThrottling, http.StatusTooManyRequests},
	{codeInternal, http.StatusInternalServerError},
	{codeUnavailable, http.StatusServiceUnavailable},
	{codeUnknown, http.StatusNotFound},
	{codeTooManyTags, http.StatusBadRequest},

	{"MissingAuthenticationTokenException", http.StatusForbidden},
	{"IncompleteSignatureException", http.StatusForbidden},
	{"UnrecognizedClientException", http.StatusForbidden},
	{"ExpiredTokenException", http.StatusForbidden},
	{"InvalidSignatureException", http.StatusForbidden},

	{codeMissingAction, http.StatusBadRequest},
	{codeInvalidAction, http.StatusBadRequest},
	{codeSTSValidation, http.StatusBadRequest},
	{codeMissingToken, http.StatusForbidden},
	{codeIncomplete, http.StatusBadRequest},
	{codeInvalidToken, http.StatusForbidden},
	{codeExpiredToken, http.StatusForbidden},
	{codeSignatureNoMatch, http.StatusForbidden},
	{codeSTSDenied, http.StatusForbidden},
	{codeSTSParameter, http.StatusBadRequest},
	{codeSTSThrottling, http.StatusBadRequest},
	{codeSTSPacked, http.StatusBadRequest},
	{codeSTSInternal, http.StatusInternalServerError},

	{codeIAMNotFound, http.StatusNotFound},
	{codeIAMExists, http.StatusConflict},
	{codeIAMConflict, http.StatusConflict},
	{codeIAMLimit, http.StatusConflict},
	{codeIAMMalformed, http.StatusBadRequest},
	{codeIAMInput, http.StatusBadRequest},
	{codeIAMInternal, http.StatusInternalServerError},
}

// codeOf returns the error code for the status of an injected fault, or "".
func codeOf(status int) string {
	for _, code := range []string{codeAccessDenied, codeNotFound, codeValidation, codeThrottling, codeInternal, codeUnavailable} {
		if statuses.Get(code) == status {
			return code
		}
	}
	return ""
}

// A refusal is an error as sent to the client. The cause is only logged,
// because the service's messages contain few details.
type refusal struct {
	code, message string
	cause         error
}

func (r *refusal) Error() string {
	if r.cause != nil {
		return r.code + ": " + r.message + " (" + r.cause.Error() + ")"
	}
	return r.code + ": " + r.message
}

func (r *refusal) Unwrap() error { return r.cause }

func refuse(code, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

func (r *refusal) because(cause error) *refusal {
	r.cause = cause
	return r
}

// asRefusal returns err if it is a refusal. It hides any other error from the
// client behind an internal error.
func asRefusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return (&refusal{code: codeInternal, message: "Internal error"}).because(err)
}
