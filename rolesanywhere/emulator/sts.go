package emulator

import (
	"crypto/subtle"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	stsVersion   = "2011-06-15"
	stsService   = "sts"

	headerToken = "X-Amz-Security-Token"
)

type callerIdentityResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result    Identity `xml:"GetCallerIdentityResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

// An Identity is the owner of credentials.
type Identity struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

// stsOperations are the operations of STS that the emulator implements.
var stsOperations = lookup.Table[string, func(*Server, *queryRequest) (any, error)]{
	{actionGetCallerIdentity, (*Server).getCallerIdentity},
	{actionAssumeRole, (*Server).assumeRole},
}

func stsOperationOf(action string) func(*Server, *queryRequest) (any, error) {
	return stsOperations.Get(action)
}

func (s *Server) getCallerIdentity(q *queryRequest) (any, error) {
	return callerIdentityResponse{
		Result:    Identity{ARN: q.caller.User.ARN, UserID: q.caller.User.ID, Account: q.caller.Account},
		RequestID: q.id,
	}, nil
}

// caller returns the session whose credentials signed r for a service in one of regions.
// Without regions it accepts any.
func (s *Server) caller(r *http.Request, body []byte, service string, regions ...string) (*session, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, refuse(codeMissingToken, msgSTSNoToken)
	}
	signed, err := sigv4.Parse(r)
	if err != nil {
		return nil, refuse(codeIncomplete, msgSTSIncomplete, err)
	}
	if signed.Service != service {
		return nil, refuse(codeSignatureNoMatch, msgSTSScope, service, signed.Service)
	}
	if len(regions) > 0 && !slices.Contains(regions, signed.Region) {
		return nil, refuse(codeSignatureNoMatch, msgSTSRegion, regions[0], signed.Region)
	}

	now := s.now()
	s.mu.RLock()
	caller, ok := s.sessions.get(signed.AccessKeyID)
	s.mu.RUnlock()
	if !ok {
		return nil, refuse(codeInvalidToken, msgSTSInvalid).because(
			fmt.Errorf("unknown access key %s; without a state folder, each start has a new administrator and no sessions", clip(signed.AccessKeyID)))
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(headerToken)), []byte(caller.Token)) != 1 {
		return nil, refuse(codeInvalidToken, msgSTSInvalid)
	}
	if caller.isAdministrator() && len(r.Header.Values(headerToken)) > 0 {
		return nil, refuse(codeInvalidToken, msgSTSInvalid).because(errors.New("the administrator has no session token, not even an empty one"))
	}
	if caller.expired(now) {
		return nil, refuse(codeExpiredToken, msgSTSExpired)
	}
	switch err := signed.Verify(r, body, caller.Secret); {
	case errors.Is(err, sigv4.ErrSignature):
		return nil, refuse(codeSignatureNoMatch, msgSTSSignature)
	case err != nil:
		return nil, refuse(codeIncomplete, msgSTSIncomplete, err)
	}
	if err := checkSkew(codeSignatureNoMatch, signed.Time, now); err != nil {
		return nil, err
	}
	return caller, nil
}
