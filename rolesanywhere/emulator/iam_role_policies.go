package emulator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

// checkPermissions checks the outline of a policy of permissions. The emulator stores it
// and does not evaluate it.
func checkPermissions(document string) error {
	all, err := strictjson.Members([]byte(document))
	if err != nil {
		return refuse(codeIAMMalformed, msgIAMDocument, err)
	}
	err = errors.New("it has no Statement")
	for _, m := range all {
		switch m.Name {
		case "Version", "Id":
		case "Statement":
			err = nil
		default:
			return refuse(codeIAMMalformed, msgIAMDocument, fmt.Sprintf("unknown element %q", clip(m.Name)))
		}
	}
	if err != nil {
		return refuse(codeIAMMalformed, msgIAMDocument, err)
	}
	return nil
}

func (s *Server) putRolePolicy(r *iamRequest) iamAct {
	roleName, name, document := r.roleName(), r.policyName(), r.required("PolicyDocument", checkDocument)
	return s.editRole(roleName, func(role *role) (any, error) {
		if err := checkPermissions(document); err != nil {
			return nil, err
		}
		if role.Inline == nil {
			role.Inline = make(map[string]string)
		}
		role.Inline[name] = document
		return nil, checkSize(maxInlineSize, refuse(codeIAMLimit, msgIAMInlineSize, maxInlineSize, role.arn.name), slices.Collect(maps.Values(role.Inline))...)
	})
}

func (s *Server) getRolePolicy(r *iamRequest) iamAct {
	roleName, name := r.roleName(), r.policyName()
	return s.readRole(roleName, func(role *role) (any, error) {
		document, ok := role.Inline[name]
		if !ok {
			return nil, refuse(codeIAMNotFound, msgIAMInline, name)
		}
		return struct{ RoleName, PolicyName, PolicyDocument string }{role.arn.name, name, escapeDocument(document)}, nil
	})
}

func (s *Server) deleteRolePolicy(r *iamRequest) iamAct {
	roleName, name := r.roleName(), r.policyName()
	return s.editRole(roleName, func(role *role) (any, error) {
		if _, ok := role.Inline[name]; !ok {
			return nil, refuse(codeIAMNotFound, msgIAMInline, name)
		}
		delete(role.Inline, name)
		return nil, nil
	})
}

func (s *Server) listRolePolicies(r *iamRequest) iamAct {
	p := r.page("RolePolicies")
	return s.readRole(r.roleName(), func(role *role) (any, error) {
		names, next, err := sliceOf(s, p, sortedKeys(role.Inline))
		return struct {
			PolicyNames members[string]
			pageOutput
		}{names, next}, err
	})
}

// attachRolePolicy accepts every policy of AWS, because the emulator has no list of them.
func (s *Server) attachRolePolicy(r *iamRequest) iamAct {
	arn := r.policyARN()
	return s.editRole(r.roleName(), func(role *role) (any, error) {
		ofAWS := strings.HasPrefix(arn, "arn:"+partition(s.region)+":iam::aws:policy/")
		if _, ok := s.policies.get(arn); !ok && !ofAWS {
			return nil, refuse(codeIAMNotFound, msgIAMAttach, clip(arn))
		}
		if slices.Contains(role.Attached, arn) {
			return nil, nil
		}
		if len(role.Attached) >= maxAttached {
			return nil, refuse(codeIAMLimit, msgIAMQuota, "PoliciesPerRole", maxAttached)
		}
		role.Attached = append(role.Attached, arn)
		return nil, nil
	})
}

func (s *Server) detachRolePolicy(r *iamRequest) iamAct {
	arn := r.policyARN()
	return s.editRole(r.roleName(), func(role *role) (any, error) {
		i := slices.Index(role.Attached, arn)
		if i < 0 {
			return nil, refuse(codeIAMNotFound, msgIAMPolicy, clip(arn))
		}
		role.Attached = slices.Delete(role.Attached, i, i+1)
		return nil, nil
	})
}

func (s *Server) listAttachedRolePolicies(r *iamRequest) iamAct {
	type attached struct {
		PolicyName string
		PolicyARN  string `xml:"PolicyArn"`
	}
	prefix, p := r.pathPrefix(), r.page("AttachedRolePolicies")
	return s.readRole(r.roleName(), func(role *role) (any, error) {
		var found []attached
		for _, arn := range role.Attached {
			if path, name := pathAndName(arn); strings.HasPrefix(path, prefix) {
				found = append(found, attached{name, arn})
			}
		}
		policies, next, err := sliceOf(s, p, found)
		return struct {
			AttachedPolicies members[attached]
			pageOutput
		}{policies, next}, err
	})
}
