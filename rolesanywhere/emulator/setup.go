package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

func (s *Server) addAnchor(cfg TrustAnchor, i int) error {
	cfg.ARN = cmp.Or(cfg.ARN, DefaultTrustAnchorARN(s.region, s.account, i+1))
	id, err := s.ownARN(cfg.ARN, "trust-anchor")
	if err != nil {
		return err
	}
	if s.anchors[cfg.ARN] != nil {
		return fmt.Errorf("trust anchor %s is configured twice", cfg.ARN)
	}
	a, err := newAnchor(cfg)
	if err != nil {
		return fmt.Errorf("trust anchor %s: %w", cfg.ARN, err)
	}
	a.account = id.account
	s.anchors[cfg.ARN] = a
	s.arns.anchors = append(s.arns.anchors, cfg.ARN)
	return s.addAlias(cfg.ARN, cfg.Alias)
}

func (s *Server) addRole(cfg Role, i int) error {
	if cfg.ARN == "" {
		if i > 0 {
			return fmt.Errorf("role %d has no ARN", i+1)
		}
		cfg.ARN = DefaultRoleARN(s.region, s.account)
	}
	id, err := s.ownARN(cfg.ARN, "role")
	if err != nil {
		return err
	}
	if _, duplicate := s.roles[cfg.ARN]; duplicate {
		return fmt.Errorf("role %s is configured twice", cfg.ARN)
	}
	// Source: AWS IAM API Reference, CreateRole: names are unique in an account,
	// whatever their paths are, and are not distinguished by case.
	for _, other := range s.arns.roles {
		if o := s.roles[other].arn; o.account == id.account && strings.EqualFold(o.name, id.name) {
			return fmt.Errorf("%s and %s have the same role name; IAM allows a name once in an account", other, cfg.ARN)
		}
	}
	r := role{arn: id, max: cmp.Or(cfg.MaxSessionDuration, defaultDuration)}
	if r.max < defaultDuration || r.max > maxDuration {
		return fmt.Errorf("role %s: maximum session duration of %d s is not between %d and %d",
			cfg.ARN, r.max, defaultDuration, maxDuration)
	}
	if r.policy, err = loadPolicy(cfg); err != nil {
		return fmt.Errorf("trust policy of role %s: %w", cfg.ARN, err)
	}
	if r.policy != nil {
		if err := r.policy.CheckPartition(id.partition); err != nil {
			return fmt.Errorf("trust policy of role %s: %w", cfg.ARN, err)
		}
	}
	s.roles[cfg.ARN] = r
	s.arns.roles = append(s.arns.roles, cfg.ARN)
	return nil
}

// addProfile must be called after all roles are added, because profiles refer
// to roles.
func (s *Server) addProfile(p Profile, i int) error {
	p.ARN = cmp.Or(p.ARN, DefaultProfileARN(s.region, s.account, i+1))
	id, err := s.ownARN(p.ARN, "profile")
	if err != nil {
		return err
	}
	if _, duplicate := s.profiles[p.ARN]; duplicate {
		return fmt.Errorf("profile %s is configured twice", p.ARN)
	}
	p.DurationSeconds = cmp.Or(p.DurationSeconds, defaultDuration)
	if p.DurationSeconds < minDuration || p.DurationSeconds > maxDuration {
		return fmt.Errorf("profile %s: duration of %d s is not between %d and %d",
			p.ARN, p.DurationSeconds, minDuration, maxDuration)
	}
	if p.RoleARNs, err = s.profileRoles(p.RoleARNs, id.account); err != nil {
		return fmt.Errorf("profile %s: %w", p.ARN, err)
	}
	s.profiles[p.ARN] = p
	s.arns.profiles = append(s.arns.profiles, p.ARN)
	return s.addAlias(p.ARN, p.Alias)
}

// profileRoles checks the roles of a profile, which must belong to the account of
// the profile. Without any, it returns all roles of the account.
func (s *Server) profileRoles(arns []string, account string) ([]string, error) {
	for _, arn := range arns {
		switch role, ok := s.roles[arn]; {
		case !ok:
			return nil, fmt.Errorf("role %s is not configured", arn)
		case role.arn.account != account:
			return nil, fmt.Errorf("role %s does not belong to account %s of the profile", arn, account)
		}
	}
	if len(arns) > 0 {
		return slices.Clone(arns), nil
	}
	own := slices.DeleteFunc(s.RoleARNs(), func(arn string) bool { return s.roles[arn].arn.account != account })
	if len(own) == 0 {
		return nil, fmt.Errorf("no role of its account %s is configured", account)
	}
	return own, nil
}

// ownARN parses an ARN. It refuses ARNs outside the emulator's partition and,
// for regional resources, outside its region.
func (s *Server) ownARN(v, kind string) (arn, error) {
	a, err := parseARN(v, kind)
	if err != nil {
		return arn{}, err
	}
	if want := partition(s.region); a.partition != want {
		return arn{}, fmt.Errorf("%s is not in partition %s of region %s", v, want, s.region)
	}
	if kind != "role" && a.region != s.region {
		return arn{}, fmt.Errorf("%s is not in region %s", v, s.region)
	}
	return a, nil
}

func (s *Server) setFaults(f Faults) error {
	f.ErrorStatus = cmp.Or(f.ErrorStatus, http.StatusInternalServerError)
	switch {
	case !(f.ErrorRate >= 0 && f.ErrorRate <= 1): // also true for NaN
		return fmt.Errorf("faults: error rate %v is not between 0 and 1", f.ErrorRate)
	case f.Latency < 0:
		return fmt.Errorf("faults: latency %v is negative", f.Latency)
	case f.SessionLifetime < 0:
		return fmt.Errorf("faults: session lifetime %v is negative", f.SessionLifetime)
	case f.InProgress < 0:
		return fmt.Errorf("faults: %d times in progress is negative", f.InProgress)
	case codeOf(f.ErrorStatus) == "":
		return fmt.Errorf("faults: %d is not the status of a known error", f.ErrorStatus)
	}
	s.faults = f
	return nil
}

func loadPolicy(cfg Role) (*trustpolicy.Policy, error) {
	switch {
	case cfg.TrustPolicy != "" && cfg.TrustPolicyFile != "":
		return nil, errors.New("given both inline and as a file")
	case cfg.TrustPolicy != "":
		return trustpolicy.Parse([]byte(cfg.TrustPolicy))
	case cfg.TrustPolicyFile != "":
		b, err := readFile(cfg.TrustPolicyFile, maxFile)
		if err != nil {
			return nil, err
		}
		p, err := trustpolicy.Parse(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.TrustPolicyFile, err)
		}
		return p, nil
	}
	return nil, nil
}
