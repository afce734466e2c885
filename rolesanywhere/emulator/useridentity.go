package emulator

import (
	"strings"
	"time"
)

// A userIdentity is the caller in an event.
//
// Source: AWS CloudTrail User Guide, "CloudTrail userIdentity element". Its type
// Unknown is that of a caller whom CloudTrail cannot determine. The emulator uses it for
// CreateSession, whose caller has only a certificate, and for callers who are not
// verified; AWS does not document either.
type userIdentity struct {
	Type        string          `json:"type"`
	PrincipalID string          `json:"principalId,omitempty"`
	ARN         string          `json:"arn,omitempty"`
	AccountID   string          `json:"accountId,omitempty"`
	AccessKeyID string          `json:"accessKeyId,omitempty"`
	UserName    string          `json:"userName,omitempty"`
	Session     *sessionContext `json:"sessionContext,omitempty"`
	InvokedBy   string          `json:"invokedBy,omitempty"`
}

// A sessionContext is how a caller got temporary credentials.
type sessionContext struct {
	Issuer         sessionIssuer     `json:"sessionIssuer"`
	Attributes     sessionAttributes `json:"attributes"`
	SourceIdentity string            `json:"sourceIdentity,omitempty"`
}

// A sessionIssuer is the role of a session.
type sessionIssuer struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	UserName    string `json:"userName"`
}

type sessionAttributes struct {
	CreationDate     string `json:"creationDate"`
	MFAAuthenticated string `json:"mfaAuthenticated"`
}

func (s *session) identity() *userIdentity {
	id := &userIdentity{Type: "AssumedRole", PrincipalID: s.User.ID, ARN: s.User.ARN, AccountID: s.Account, AccessKeyID: s.AccessKeyID}
	if s.isAdministrator() {
		id.Type, id.UserName = "IAMUser", lastElement(s.User.ARN)
		return id
	}
	role, _, _ := strings.Cut(s.User.ID, ":")
	id.Session = &sessionContext{
		Issuer:         sessionIssuer{Type: "Role", PrincipalID: role, ARN: s.RoleARN, AccountID: s.Account, UserName: lastElement(s.RoleARN)},
		Attributes:     sessionAttributes{CreationDate: s.Issued.UTC().Format(time.RFC3339), MFAAuthenticated: "false"},
		SourceIdentity: s.Source,
	}
	return id
}

// lastElement returns the last element of the path in an ARN.
func lastElement(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
