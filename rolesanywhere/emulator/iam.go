package emulator

import (
	"encoding/xml"
	"net/url"
	"strings"
	"time"
)

const (
	iamVersion   = "2010-05-08"
	iamService   = "iam"
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"

	sourceIAM = "iam.amazonaws.com"
)

// iamOperations are the operations of IAM that the emulator implements: those that
// manage the roles of sessions. Policies of permissions are stored, but never evaluated:
// the emulator has no service whose requests they could allow or deny.
//
// Source: service model of IAM, as in the AWS SDK for Go, service/iam v1.66.0.
var iamOperations = []struct {
	name   string
	writes bool
	run    iamOperation
}{
	{"AttachRolePolicy", true, (*Server).attachRolePolicy},
	{"CreatePolicy", true, (*Server).createPolicy},
	{"CreateRole", true, (*Server).createRole},
	{"DeletePolicy", true, (*Server).deletePolicy},
	{"DeleteRole", true, (*Server).deleteRole},
	{"DeleteRolePolicy", true, (*Server).deleteRolePolicy},
	{"DetachRolePolicy", true, (*Server).detachRolePolicy},
	{"GetPolicy", false, (*Server).getPolicy},
	{"GetPolicyVersion", false, (*Server).getPolicyVersion},
	{"GetRole", false, (*Server).getRole},
	{"GetRolePolicy", false, (*Server).getRolePolicy},
	{"GetUser", false, (*Server).getUser},
	{"ListAccountAliases", false, (*Server).listAccountAliases},
	{"ListAttachedRolePolicies", false, (*Server).listAttachedRolePolicies},
	{"ListInstanceProfilesForRole", false, (*Server).listInstanceProfilesForRole},
	{"ListPolicies", false, (*Server).listPolicies},
	{"ListPolicyVersions", false, (*Server).listPolicyVersions},
	{"ListRolePolicies", false, (*Server).listRolePolicies},
	{"ListRoleTags", false, (*Server).listRoleTags},
	{"ListRoles", false, (*Server).listRoles},
	{"PutRolePolicy", true, (*Server).putRolePolicy},
	{"TagRole", true, (*Server).tagRole},
	{"UntagRole", true, (*Server).untagRole},
	{"UpdateAssumeRolePolicy", true, (*Server).updateAssumeRolePolicy},
	{"UpdateRole", true, (*Server).updateRole},
	{"UpdateRoleDescription", true, (*Server).updateRoleDescription},
}

// iamOperationOf returns what answers an action, or nil.
func iamOperationOf(action string) func(*Server, *queryRequest) (any, error) {
	for _, op := range iamOperations {
		switch {
		case op.name != action:
		case op.writes:
			return writes(op.run)
		default:
			return reads(op.run)
		}
	}
	return nil
}

// An iamOperation reads its parameters and returns its act, which runs only if all
// parameters are right and used.
type iamOperation func(*Server, *iamRequest) iamAct

// An iamAct returns the result of an operation, or nil if it has none. It holds the lock
// of the resources. c is nil if the operation only reads.
type iamAct func(c *changes) (any, error)

func reads(op iamOperation) func(*Server, *queryRequest) (any, error) {
	return func(s *Server, q *queryRequest) (any, error) {
		act, err := prepare(op, s, q)
		if err != nil {
			return nil, err
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		return q.iamResponse(act(nil))
	}
}

func writes(op iamOperation) func(*Server, *queryRequest) (any, error) {
	return func(s *Server, q *queryRequest) (any, error) {
		act, err := prepare(op, s, q)
		if err != nil {
			return nil, err
		}
		return q.iamResponse(s.changeWith(q.ev, act))
	}
}

// prepare reads the parameters of a request, which it records in the event, as its act
// records the resources.
func prepare(op iamOperation, s *Server, q *queryRequest) (iamAct, error) {
	form, err := parametersOf(q.form)
	if err != nil {
		return nil, err
	}
	r := &iamRequest{queryRequest: q, form: form, parameters: make(map[string]any)}
	q.ev.RequestParameters = r.parameters
	act := op(s, r)
	if r.err == nil {
		r.err = unused(r.form)
	}
	return func(c *changes) (any, error) {
		q.ev.addResources(r.resources(s))
		return act(c)
	}, r.err
}

// An iamResponse is the response of an operation. AWS sends no element of the result if
// there is none.
type iamResponse struct {
	action string
	result any
	id     string // of the request
}

func (q *queryRequest) iamResponse(result any, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return iamResponse{q.form.Get("Action"), result, q.id}, nil
}

// MarshalXML implements [xml.Marshaler].
func (r iamResponse) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	type metadata struct {
		RequestID string `xml:"RequestId"`
	}
	start := xml.StartElement{Name: xml.Name{Space: iamNamespace, Local: r.action + "Response"}}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	if r.result != nil {
		if err := e.EncodeElement(r.result, xml.StartElement{Name: xml.Name{Local: r.action + "Result"}}); err != nil {
			return err
		}
	}
	if err := e.EncodeElement(metadata{r.id}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}); err != nil {
		return err
	}
	return e.EncodeToken(start.End())
}

// A members is a list of the Query protocol. Its element is also there if it is empty.
type members[T any] []T

// MarshalXML implements [xml.Marshaler].
func (m members[T]) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(struct {
		Member []T `xml:"member"`
	}{m}, start)
}

// An iamTag is a tag of a role or policy.
type iamTag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func iamTags(tags map[string]string) (all members[iamTag]) {
	for _, key := range sortedKeys(tags) {
		all = append(all, iamTag{key, tags[key]})
	}
	return all
}

// escapeDocument escapes a policy as responses contain it.
//
// Source: AWS IAM API Reference, GetRole, which names RFC 3986.
func escapeDocument(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20") // QueryEscape escapes a + itself
}

func iamTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// The administrator is the only user.
func (s *Server) getUser(r *iamRequest) iamAct {
	name := r.optional("UserName", administratorName, nameOf(maxUserName))
	return func(*changes) (any, error) {
		if name != administratorName {
			return nil, refuse(codeIAMNotFound, msgIAMUser, name)
		}
		type user struct {
			Path       string
			UserName   string
			UserID     string `xml:"UserId"`
			ARN        string `xml:"Arn"`
			CreateDate string
		}
		return struct{ User user }{user{"/", name, s.admin.User.ID, s.admin.User.ARN, iamTime(s.admin.Issued)}}, nil
	}
}

// listAccountAliases: the account has none.
func (s *Server) listAccountAliases(r *iamRequest) iamAct {
	r.page("AccountAliases")
	return func(*changes) (any, error) {
		return struct {
			AccountAliases members[string]
			pageOutput
		}{}, nil
	}
}
