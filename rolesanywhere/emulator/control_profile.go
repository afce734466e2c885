package emulator

type profileDetail struct {
	detail
	AcceptRoleSessionName bool               `json:"acceptRoleSessionName"`
	Mappings              []attributeMapping `json:"attributeMappings"`
	CreatedBy             string             `json:"createdBy"`
	DurationSeconds       int                `json:"durationSeconds"`
	ManagedPolicyARNs     []string           `json:"managedPolicyArns"`
	ARN                   string             `json:"profileArn"`
	ID                    string             `json:"profileId"`
	RequireProperties     bool               `json:"requireInstanceProperties"`
	RoleARNs              []string           `json:"roleArns"`
	SessionPolicy         string             `json:"sessionPolicy,omitempty"`
}

func (s *Server) profileDetail(p *profile) any {
	return profileDetail{
		detail: p.detail(), AcceptRoleSessionName: p.AcceptRoleSessionName, Mappings: p.Mappings, CreatedBy: p.account(),
		DurationSeconds: p.DurationSeconds, ManagedPolicyARNs: append([]string{}, p.ManagedPolicyARNs...), ARN: p.ARN, ID: p.id(),
		RequireProperties: p.RequireProperties, RoleARNs: p.RoleARNs, SessionPolicy: p.SessionPolicy,
	}
}

func (p *profile) with(f func(*resource)) *profile {
	q := *p
	f(&q.resource)
	return &q
}

// A profileInput has the members that CreateProfile and UpdateProfile have in common.
type profileInput struct {
	Alias                 *string  `json:"aliasName"`
	Name                  *string  `json:"name"`
	RoleARNs              []string `json:"roleArns"`
	AcceptRoleSessionName *bool    `json:"acceptRoleSessionName"`
	DurationSeconds       *int     `json:"durationSeconds"`
	ManagedPolicyARNs     []string `json:"managedPolicyArns"`
	SessionPolicy         *string  `json:"sessionPolicy"`
}

// set checks the members that a request has, and sets the fields of p.
func (in profileInput) set(s *Server, p *profile) error {
	if in.RoleARNs != nil {
		if err := s.checkRoleARNs(in.RoleARNs); err != nil {
			return err
		}
		p.RoleARNs = in.RoleARNs
	}
	if in.AcceptRoleSessionName != nil {
		p.AcceptRoleSessionName = *in.AcceptRoleSessionName
	}
	if d := in.DurationSeconds; d != nil {
		if err := between("durationSeconds", *d, minDuration, maxDuration); err != nil {
			return err
		}
		p.DurationSeconds = *d
	}
	if in.ManagedPolicyARNs != nil {
		if err := checkPolicyARNs(in.ManagedPolicyARNs); err != nil {
			return err
		}
		p.ManagedPolicyARNs = in.ManagedPolicyARNs
	}
	if in.SessionPolicy != nil {
		if err := checkSessionPolicy(*in.SessionPolicy); err != nil {
			return err
		}
		p.SessionPolicy = *in.SessionPolicy
	}
	return nil
}

func (s *Server) createProfile(c *controlRequest) (any, error) {
	var in struct {
		profileInput
		Enabled           bool  `json:"enabled"`
		RequireProperties bool  `json:"requireInstanceProperties"`
		Tags              []tag `json:"tags"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	r, err := s.newResource(c, "profile", deref(in.Name), deref(in.Alias), in.Enabled, in.Tags)
	if err != nil {
		return nil, err
	}
	if in.RoleARNs == nil {
		return nil, missing("roleArns")
	}
	p := &profile{
		resource: r, DurationSeconds: defaultDuration, RequireProperties: in.RequireProperties,
		Mappings: defaultMappings(),
	}
	if err := in.set(s, p); err != nil {
		return nil, err
	}
	return profileKind.create(s, c, p, maxProfiles)
}

func (s *Server) updateProfile(c *controlRequest) (any, error) {
	var in profileInput
	if err := c.input(&in); err != nil {
		return nil, err
	}
	if in.SessionPolicy != nil && *in.SessionPolicy == "" { // unlike in CreateProfile
		return nil, constraint("sessionPolicy", "Member must have length greater than or equal to 1")
	}
	return profileKind.change(s, c, c.id, func(_ *changes, old *profile) (*profile, error) {
		p := old.with(func(*resource) {})
		if err := in.set(s, p); err != nil {
			return nil, err
		}
		if err := p.update(c, in.Name, in.Alias); err != nil {
			return nil, err
		}
		return p, profileKind.checkAlias(s, p.resource)
	})
}

func deref(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}
