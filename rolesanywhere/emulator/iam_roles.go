package emulator

import (
	"crypto/rand"
	"errors"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// The default quotas of an account. Sizes do not count white space.
//
// Source: AWS IAM User Guide, "IAM and AWS STS quotas".
const (
	maxRoles       = 1000
	maxPolicies    = 1500
	maxAttached    = 10     // managed policies of a role
	maxTrustSize   = 2048   // characters
	maxInlineSize  = 10_240 // characters, of all inline policies of a role
	maxManagedSize = 6144   // characters
)

// trustsEverySession is the trust policy of a configured role that has none. It means the
// same.
const trustsEverySession = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`

// A roleDetail is a role in a response. AWS gives the tags only if one role is asked for.
// Its JSON is for events.
type roleDetail struct {
	Path                     string          `json:"path"`
	RoleName                 string          `json:"roleName"`
	RoleID                   string          `xml:"RoleId" json:"roleId"`
	ARN                      string          `xml:"Arn" json:"arn"`
	CreateDate               string          `json:"createDate"`
	AssumeRolePolicyDocument string          `json:"-"`
	Description              string          `xml:",omitempty" json:"description,omitempty"`
	MaxSessionDuration       int             `json:"maxSessionDuration"`
	Tags                     members[iamTag] `xml:",omitempty" json:"tags,omitempty"`
}

type roleOutput struct {
	Role roleDetail `json:"role"`
}

func (r *role) detail() roleDetail {
	d := roleDetail{
		RoleID: r.ID, ARN: r.ARN, CreateDate: iamTime(r.Created), AssumeRolePolicyDocument: escapeDocument(r.TrustPolicy),
		Description: r.Description, MaxSessionDuration: r.Max,
	}
	d.Path, d.RoleName = pathAndName(r.ARN)
	if r.TrustPolicy == "" {
		d.AssumeRolePolicyDocument = escapeDocument(trustsEverySession)
	}
	return d
}

func (r *role) output() roleOutput {
	d := r.detail()
	d.Tags = iamTags(r.Tags)
	return roleOutput{d}
}

// pathAndName splits the ARN of a role or policy.
func pathAndName(arn string) (path, name string) {
	_, path, _ = strings.Cut(arn, "/")
	i := strings.LastIndexByte(path, '/') + 1
	return "/" + path[:i], path[i:]
}

// iamARN returns the ARN of a role or policy of the account.
func (s *Server) iamARN(kind, path, name string) string {
	return "arn:" + partition(s.region) + ":iam::" + s.account + ":" + kind + path + name
}

// setTrustPolicy checks a trust policy and sets it. It must be one that the emulator can
// evaluate. A role may trust other services, and then no session of Roles Anywhere.
func (r *role) setTrustPolicy(document string) error {
	if err := checkSize(maxTrustSize, refuse(codeIAMLimit, msgIAMQuota, "ACLSizePerRole", maxTrustSize), document); err != nil {
		return err
	}
	r.TrustPolicy = document
	var unsupported *trustpolicy.UnsupportedError
	switch err := r.parse(); {
	case errors.As(err, &unsupported):
		return refuse(codeIAMMalformed, msgIAMUnsupported, err)
	case err != nil && !strings.HasPrefix(strings.TrimSpace(document), "{"):
		return refuse(codeIAMMalformed, msgIAMDocument, "it is not a JSON object; give its content, or file://NAME")
	case err != nil:
		return refuse(codeIAMMalformed, msgIAMDocument, err)
	}
	return nil
}

// maxPadding limits the bytes of documents, as a multiple of their quota. It is the
// emulator's own limit, because it keeps documents as they are, and AWS documents none
// for white space.
const maxPadding = 4

// checkSize returns exceeded if documents together have more characters than a quota.
func checkSize(quota int, exceeded error, documents ...string) error {
	characters, bytes := 0, 0
	for _, document := range documents {
		bytes += len(document)
		for _, c := range document {
			if !strings.ContainsRune(" \t\r\n", c) {
				characters++
			}
		}
	}
	switch {
	case characters > quota:
		return exceeded
	case bytes > maxPadding*quota:
		return refuse(codeIAMLimit, msgIAMPadding, bytes, maxPadding*quota)
	}
	return nil
}

// ownRole returns the role of the account with a name.
func (s *Server) ownRole(name string) (*role, error) {
	r, ok := s.roleByName(s.account, name)
	if !ok {
		return nil, refuse(codeIAMNotFound, msgIAMRole, name)
	}
	return r, nil
}

// readRole returns an act that reads a role.
func (s *Server) readRole(name string, read func(*role) (any, error)) iamAct {
	return func(*changes) (any, error) {
		role, err := s.ownRole(name)
		if err != nil {
			return nil, err
		}
		return read(role)
	}
}

// editRole returns an act that changes a copy of a role, which replaces the role.
func (s *Server) editRole(name string, edit func(*role) (any, error)) iamAct {
	return func(c *changes) (any, error) {
		old, err := s.ownRole(name)
		if err != nil {
			return nil, err
		}
		edited := old.clone()
		out, err := edit(edited)
		if err != nil {
			return nil, err
		}
		edited.edit()
		s.roles.put(c, edited.ARN, edited)
		return out, nil
	}
}

func (s *Server) createRole(r *iamRequest) iamAct {
	path, name := r.path(), r.roleName()
	created := &role{ARN: s.iamARN("role", path, name), ID: "AROA" + rand.Text()[:17], Created: r.now, Max: r.maxSession(), Tags: r.tags()}
	document := r.required("AssumeRolePolicyDocument", checkDocument)
	if d := r.description(); d != nil {
		created.Description = *d
	}
	return func(c *changes) (any, error) {
		if err := created.setTrustPolicy(document); err != nil {
			return nil, err
		}
		if _, used := s.roleByName(s.account, name); used {
			return nil, refuse(codeIAMExists, msgIAMRoleExists, name)
		}
		if len(s.roles.keys) >= maxRoles {
			return nil, refuse(codeIAMLimit, msgIAMQuota, "RolesPerAccount", maxRoles)
		}
		s.roles.put(c, created.ARN, created)
		return created.output(), nil
	}
}

func (s *Server) getRole(r *iamRequest) iamAct {
	return s.readRole(r.roleName(), func(role *role) (any, error) { return role.output(), nil })
}

func (s *Server) listRoles(r *iamRequest) iamAct {
	prefix, p := r.pathPrefix(), r.page("Roles")
	return func(*changes) (any, error) {
		var found []*role
		var numbers []uint64
		for key, role := range s.roles.all() {
			if path, _ := pathAndName(key); role.arn.account == s.account && strings.HasPrefix(path, prefix) {
				found, numbers = append(found, role), append(numbers, s.roles.rows[key].Number)
			}
		}
		from, to, next, err := p.slice(s, numbers)
		if err != nil {
			return nil, err
		}
		var all members[roleDetail]
		for _, role := range found[from:to] {
			all = append(all, role.detail())
		}
		return struct {
			Roles members[roleDetail]
			pageOutput
		}{all, next}, nil
	}
}

func (s *Server) updateRole(r *iamRequest) iamAct {
	limit, description := r.maxSession(), r.description()
	return s.editRole(r.roleName(), func(role *role) (any, error) {
		role.Max = limit
		if description != nil {
			role.Description = *description
		}
		return struct{}{}, nil
	})
}

func (s *Server) updateRoleDescription(r *iamRequest) iamAct {
	description := r.required("Description", checkDescription)
	return s.editRole(r.roleName(), func(role *role) (any, error) {
		role.Description = description
		return role.output(), nil
	})
}

func (s *Server) updateAssumeRolePolicy(r *iamRequest) iamAct {
	document := r.required("PolicyDocument", checkDocument)
	return s.editRole(r.roleName(), func(role *role) (any, error) { return nil, role.setTrustPolicy(document) })
}

// deleteRole leaves the role in profiles, as AWS does.
func (s *Server) deleteRole(r *iamRequest) iamAct {
	name := r.roleName()
	return func(c *changes) (any, error) {
		role, err := s.ownRole(name)
		switch {
		case err != nil:
			return nil, err
		case len(role.Attached) > 0:
			return nil, refuse(codeIAMConflict, msgIAMAttached)
		case len(role.Inline) > 0:
			return nil, refuse(codeIAMConflict, msgIAMHasInline)
		}
		s.roles.remove(c, role.ARN)
		return nil, nil
	}
}

// Keys of tags that differ only by case are the same key.
//
// Source: AWS IAM User Guide, "Tags for AWS Identity and Access Management resources".
func (s *Server) tagRole(r *iamRequest) iamAct {
	tags := r.tags()
	if len(tags) == 0 {
		r.fail(invalid("tags", "Member must not be null"))
	}
	return s.editRole(r.roleName(), func(role *role) (any, error) {
		role.Tags = withoutTags(role.Tags, sortedKeys(tags))
		for key, value := range tags {
			role.Tags[key] = value
		}
		if len(role.Tags) > maxTags {
			return nil, refuse(codeIAMLimit, msgTooManyTags, maxTags)
		}
		return nil, nil
	})
}

func (s *Server) untagRole(r *iamRequest) iamAct {
	keys := r.tagKeys()
	if len(keys) == 0 {
		r.fail(invalid("tagKeys", "Member must not be null"))
	}
	return s.editRole(r.roleName(), func(role *role) (any, error) {
		role.Tags = withoutTags(role.Tags, keys)
		return nil, nil
	})
}

func withoutTags(tags map[string]string, keys []string) map[string]string {
	kept := make(map[string]string)
	for key, value := range tags {
		if !hasFold(keys, key) {
			kept[key] = value
		}
	}
	return kept
}

func (s *Server) listRoleTags(r *iamRequest) iamAct {
	p := r.page("RoleTags")
	return s.readRole(r.roleName(), func(role *role) (any, error) {
		tags, next, err := sliceOf(s, p, iamTags(role.Tags))
		return struct {
			Tags members[iamTag]
			pageOutput
		}{tags, next}, err
	})
}

// listInstanceProfilesForRole: no role has instance profiles. Clients of AWS look before
// they delete a role.
func (s *Server) listInstanceProfilesForRole(r *iamRequest) iamAct {
	r.page("InstanceProfiles")
	return s.readRole(r.roleName(), func(*role) (any, error) {
		return struct {
			InstanceProfiles members[string]
			pageOutput
		}{}, nil
	})
}
