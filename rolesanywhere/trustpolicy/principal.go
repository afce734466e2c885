package trustpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

// RolesAnywhere is the service principal of IAM Roles Anywhere.
const RolesAnywhere = "rolesanywhere.amazonaws.com"

// A Principal is who makes a request: a service, the session of a role, or an IAM
// user. Use either Service or the other fields.
type Principal struct {
	Service string // such as RolesAnywhere

	Account    string // 12 digits
	RoleARN    string // of the role whose session it is
	SessionARN string // arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME
	UserARN    string // of the IAM user; without RoleARN and SessionARN
}

// A principals is a Principal element.
type principals struct {
	any           bool
	services, aws []string
}

// parsePrincipals parses a Principal element. It accepts the types of principals
// that never match.
func parsePrincipals(b []byte) (p principals, err error) {
	if isString(b) {
		s, err := parseString(b)
		if err == nil && s != "*" {
			err = fmt.Errorf("%q is not a principal", s)
		}
		return principals{any: true}, err
	}
	all, err := strictjson.Members(b)
	if err != nil {
		return p, err
	}
	for _, m := range all {
		values, err := stringOrList(m.Value)
		if err != nil {
			return p, fmt.Errorf("%s: %w", m.Name, err)
		}
		valid := func(string) bool { return true }
		switch m.Name {
		case "Service":
			p.services, valid = values, isService
		case "AWS":
			p.aws, valid = values, isAWSPrincipal
		case "Federated", "CanonicalUser":
		default:
			return p, fmt.Errorf("unknown type %q", m.Name)
		}
		for _, v := range values {
			if v != "*" && !valid(v) {
				return p, fmt.Errorf("%q is not a principal of type %s", v, m.Name)
			}
		}
	}
	if len(all) == 0 {
		return p, errors.New("empty")
	}
	p.any = slices.Contains(p.aws, "*")
	return p, nil
}

// include reports whether the element includes a principal. An account, or the
// ARN of its root, includes all principals of the account.
func (p principals) include(q Principal) bool {
	if p.any {
		return true
	}
	if q.Service != "" {
		return slices.Contains(p.services, q.Service) || slices.Contains(p.services, "*")
	}
	return slices.ContainsFunc(p.aws, func(v string) bool {
		parts := strings.SplitN(v, ":", 6)
		root := len(parts) == 6 && parts[2] == "iam" && parts[4] == q.Account && parts[5] == "root"
		return v == q.Account || root || v == q.RoleARN || v == q.SessionARN || v == q.UserARN
	})
}

// Principals returns the services, and the accounts, roles and users, that a statement
// names, counted from 1 as in [StatementResult].
func (p *Policy) Principals(statement int) []string {
	named := p.statements[statement-1].principals
	return slices.Concat(named.services, named.aws)
}

// CheckPartition returns an error if a principal of the policy is an ARN of
// another partition than this one, such as aws. AWS refuses such a policy.
func (p *Policy) CheckPartition(partition string) error {
	for i, st := range p.statements {
		for _, v := range st.principals.aws {
			if strings.HasPrefix(v, "arn:") && !strings.HasPrefix(v, "arn:"+partition+":") {
				return fmt.Errorf("statement %d: Principal: %q is not in partition %s", i+1, v, partition)
			}
		}
	}
	return nil
}

// isAWSPrincipal accepts account IDs, the ARNs of IAM and STS, and unique IDs.
func isAWSPrincipal(s string) bool {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) == 6 {
		return parts[0] == "arn" && (parts[2] == "iam" || parts[2] == "sts") && parts[3] == "" && isAccount(parts[4]) && parts[5] != "" && !strings.Contains(s, "*")
	}
	return isAccount(s) || strings.HasPrefix(s, "AROA") || strings.HasPrefix(s, "AIDA")
}

func isAccount(s string) bool {
	return len(s) == 12 && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

// isService accepts names such as rolesanywhere.amazonaws.com.
func isService(s string) bool {
	name, ok := strings.CutSuffix(strings.TrimSuffix(s, ".cn"), ".amazonaws.com")
	for label := range strings.SplitSeq(name, ".") {
		ok = ok && label != "" && !strings.ContainsFunc(label, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
		})
	}
	return ok
}
