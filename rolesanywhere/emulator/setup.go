package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"

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
	r := role{arn: id, max: cmp.Or(cfg.MaxSessionDuration, defaultDuration)}
	if r.max < defaultDuration || r.max > maxDuration {
		return fmt.Errorf("role %s: maximum session duration of %d s is not between %d and %d",
			cfg.ARN, r.max, defaultDuration, maxDuration)
	}
	if r.policy, err = loadPolicy(cfg); err != nil {
		return fmt.Errorf("trust policy of role %s: %w", cfg.ARN, err)
	}
	s.roles[cfg.ARN] = r
	s.arns.roles = append(s.arns.roles, cfg.ARN)
	return nil
}

// addProfile must be called after all roles are added, because profiles refer
// to roles.
func (s *Server) addProfile(p Profile, i int) error {
	p.ARN = cmp.Or(p.ARN, DefaultProfileARN(s.region, s.account, i+1))
	if _, err := s.ownARN(p.ARN, "profile"); err != nil {
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
	for _, arn := range p.RoleARNs {
		if _, ok := s.roles[arn]; !ok {
			return fmt.Errorf("profile %s: role %s is not configured", p.ARN, arn)
		}
	}
	p.RoleARNs = slices.Clone(p.RoleARNs)
	if len(p.RoleARNs) == 0 {
		p.RoleARNs = s.RoleARNs()
	}
	s.profiles[p.ARN] = p
	s.arns.profiles = append(s.arns.profiles, p.ARN)
	return s.addAlias(p.ARN, p.Alias)
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
