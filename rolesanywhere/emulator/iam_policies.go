package emulator

import (
	"crypto/rand"
	"slices"
	"strings"
)

// A policyDetail is a managed policy in a response. AWS gives the description and the
// tags only if one policy is asked for. Its JSON is for events.
type policyDetail struct {
	PolicyName       string          `json:"policyName"`
	PolicyID         string          `xml:"PolicyId" json:"policyId"`
	ARN              string          `xml:"Arn" json:"arn"`
	Path             string          `json:"path"`
	DefaultVersionID string          `xml:"DefaultVersionId" json:"defaultVersionId"`
	AttachmentCount  int             `json:"attachmentCount"`
	BoundaryCount    int             `xml:"PermissionsBoundaryUsageCount" json:"permissionsBoundaryUsageCount"`
	IsAttachable     bool            `json:"isAttachable"`
	Description      string          `xml:",omitempty" json:"description,omitempty"`
	CreateDate       string          `json:"createDate"`
	UpdateDate       string          `json:"updateDate"`
	Tags             members[iamTag] `xml:",omitempty" json:"tags,omitempty"`
}

type policyOutput struct {
	Policy policyDetail `json:"policy"`
}

func (p *managedPolicy) detail(attachments map[string]int) policyDetail {
	d := policyDetail{
		PolicyID: p.ID, ARN: p.ARN, DefaultVersionID: defaultVersionID, AttachmentCount: attachments[p.ARN], IsAttachable: true,
		CreateDate: iamTime(p.Created), UpdateDate: iamTime(p.Created),
	}
	d.Path, d.PolicyName = pathAndName(p.ARN)
	return d
}

func (s *Server) policyOutput(p *managedPolicy) policyOutput {
	d := p.detail(s.attachments())
	d.Description, d.Tags = p.Description, iamTags(p.Tags)
	return policyOutput{d}
}

// attachments returns the number of roles that each policy is attached to, by its ARN.
func (s *Server) attachments() map[string]int {
	n := make(map[string]int)
	for _, role := range s.roles.all() {
		for _, arn := range role.Attached {
			n[arn]++
		}
	}
	return n
}

func (s *Server) createPolicy(r *iamRequest) iamAct {
	path, name := r.path(), r.policyName()
	document := r.required("PolicyDocument", checkDocument)
	created := &managedPolicy{ARN: s.iamARN("policy", path, name), ID: "ANPA" + rand.Text()[:17], Created: r.now, Document: document, Tags: r.tags()}
	if d := r.description(); d != nil {
		created.Description = *d
	}
	return func(c *changes) (any, error) {
		if err := checkPermissions(document); err != nil {
			return nil, err
		}
		if err := checkSize(maxManagedSize, refuse(codeIAMLimit, msgIAMQuota, "PolicySize", maxManagedSize), document); err != nil {
			return nil, err
		}
		for arn := range s.policies.all() {
			if _, used := pathAndName(arn); strings.EqualFold(used, name) { // in any path
				return nil, refuse(codeIAMExists, msgIAMPolicyExists, name)
			}
		}
		if len(s.policies.keys) >= maxPolicies {
			return nil, refuse(codeIAMLimit, msgIAMQuota, "PoliciesPerAccount", maxPolicies)
		}
		s.policies.put(c, created.ARN, created)
		return s.policyOutput(created), nil
	}
}

// readPolicy returns an act that reads a policy of the account. The emulator does not know
// those of AWS.
func (s *Server) readPolicy(arn string, read func(*managedPolicy) (any, error)) iamAct {
	return func(*changes) (any, error) {
		p, ok := s.policies.get(arn)
		if !ok {
			return nil, refuse(codeIAMNotFound, msgIAMPolicy, clip(arn))
		}
		return read(p)
	}
}

func (s *Server) getPolicy(r *iamRequest) iamAct {
	return s.readPolicy(r.policyARN(), func(p *managedPolicy) (any, error) { return s.policyOutput(p), nil })
}

// A policyVersion is the only version of a policy. AWS gives its document only if this
// version is asked for.
type policyVersion struct {
	Document         string `xml:",omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       string
}

func (s *Server) getPolicyVersion(r *iamRequest) iamAct {
	version := r.required("VersionId", notEmpty)
	return s.readPolicy(r.policyARN(), func(p *managedPolicy) (any, error) {
		if version != defaultVersionID {
			return nil, refuse(codeIAMNotFound, msgIAMVersion, p.ARN, clip(version))
		}
		return struct{ PolicyVersion policyVersion }{policyVersion{escapeDocument(p.Document), version, true, iamTime(p.Created)}}, nil
	})
}

// listPolicyVersions is what clients of AWS ask for before they delete a policy.
func (s *Server) listPolicyVersions(r *iamRequest) iamAct {
	paging := r.page("PolicyVersions")
	return s.readPolicy(r.policyARN(), func(p *managedPolicy) (any, error) {
		versions, next, err := sliceOf(s, paging, []policyVersion{{VersionID: defaultVersionID, IsDefaultVersion: true, CreateDate: iamTime(p.Created)}})
		return struct {
			Versions members[policyVersion]
			pageOutput
		}{versions, next}, err
	})
}

// listPolicies lists no policies of AWS, because the emulator does not know them.
func (s *Server) listPolicies(r *iamRequest) iamAct {
	oneOf := func(allowed ...string) check {
		return func(name, value string) error {
			if !slices.Contains(allowed, value) {
				return invalid(name, "Member must satisfy enum value set: ["+strings.Join(allowed, ", ")+"]")
			}
			return nil
		}
	}
	scope := r.optional("Scope", "All", oneOf("All", "AWS", "Local"))
	onlyAttached := r.optional("OnlyAttached", "false", oneOf("false", "true")) == "true"
	prefix, p := r.pathPrefix(), r.page("Policies")
	return func(*changes) (any, error) {
		attachments := s.attachments()
		var found []*managedPolicy
		var numbers []uint64
		for key, policy := range s.policies.all() {
			path, _ := pathAndName(key)
			if scope != "AWS" && strings.HasPrefix(path, prefix) && (!onlyAttached || attachments[key] > 0) {
				found, numbers = append(found, policy), append(numbers, s.policies.rows[key].Number)
			}
		}
		from, to, next, err := p.slice(s, numbers)
		if err != nil {
			return nil, err
		}
		var all members[policyDetail]
		for _, policy := range found[from:to] {
			all = append(all, policy.detail(attachments))
		}
		return struct {
			Policies members[policyDetail]
			pageOutput
		}{all, next}, nil
	}
}

func (s *Server) deletePolicy(r *iamRequest) iamAct {
	arn := r.policyARN()
	return func(c *changes) (any, error) {
		if _, ok := s.policies.get(arn); !ok {
			return nil, refuse(codeIAMNotFound, msgIAMPolicy, clip(arn))
		}
		if s.attachments()[arn] > 0 {
			return nil, refuse(codeIAMConflict, msgIAMPolicyAttached)
		}
		s.policies.remove(c, arn)
		return nil, nil
	}
}
