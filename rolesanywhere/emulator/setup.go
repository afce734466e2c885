package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// A setup adds the configured resources to a server that nobody uses yet. They
// replace those of an earlier start.
type setup struct {
	*Server
	changes
	configured map[string]bool   // ARNs
	numbers    map[string]uint64 // of the resources of the earlier start, by ARN
	edited     []string          // ARNs of those that requests have changed
	crlCount   int
}

// configure adds the resources of cfg and stores them. After an error the state folder
// is unchanged.
func (s *Server) configure(cfg Config) error {
	b := &setup{Server: s, configured: make(map[string]bool), numbers: make(map[string]uint64)}
	s.describe(&b.changes)
	s.addAdministrator(&b.changes)
	removeEarlier(b, &b.anchors)
	removeEarlier(b, &b.profiles)
	removeEarlier(b, &b.crls)
	removeEarlier(b, &b.roles)
	b.applyAll()
	if len(cfg.TrustAnchors) > 0 { // otherwise the emulator starts empty
		if len(cfg.Roles) == 0 {
			cfg.Roles = []Role{{}}
		}
		if len(cfg.Profiles) == 0 {
			cfg.Profiles = []Profile{{}}
		}
	}
	for i, a := range cfg.TrustAnchors {
		if err := b.addAnchor(a, i); err != nil {
			return err
		}
	}
	for i, r := range cfg.Roles {
		if err := b.addRole(r, i); err != nil {
			return err
		}
	}
	for i, p := range cfg.Profiles {
		if err := b.addProfile(p, i); err != nil {
			return err
		}
	}
	if err := s.addPrivateCA(cfg.PrivateCA); err != nil {
		return err
	}
	var err error
	if s.limits, err = newLimits(cfg); err != nil {
		return err
	}
	if err := s.setFaults(cfg.Faults); err != nil {
		return err
	}
	if err := s.commit(&b.changes); err != nil {
		return err
	}
	for _, arn := range b.edited {
		if b.configured[arn] {
			s.logger.Warn("the configuration replaces a resource that requests had changed", "arn", arn)
		}
	}
	return nil
}

// removeEarlier removes the resources of an earlier configuration, so that those of the
// new one cannot collide with them or refer to them.
func removeEarlier[T interface{ from() origin }](b *setup, t *table[T]) {
	for arn, r := range t.all() {
		if !r.from().Configured {
			continue
		}
		b.numbers[arn] = t.rows[arn].Number
		if r.from().Edited {
			b.edited = append(b.edited, arn)
		}
		t.remove(&b.changes, arn)
	}
}

// add adds a resource, which has the same place in its table as at an earlier start.
func add[T any](b *setup, t *table[T], arn string, value T) {
	if number, ok := b.numbers[arn]; ok {
		t.set(&b.changes, arn, row[T]{number, value})
	} else {
		t.put(&b.changes, arn, value)
	}
	b.applyAll()
}

// claim refuses an ARN that is configured twice, or that a resource of the API has.
func claim[T any](b *setup, t *table[T], kind, arn string) error {
	if b.configured[arn] {
		return fmt.Errorf("%s %s is configured twice", kind, arn)
	}
	if _, ok := t.get(arn); ok {
		return fmt.Errorf("%s %s cannot be configured: %s", kind, arn, inState(arn))
	}
	b.configured[arn] = true
	return nil
}

// inState says why a resource that is not configured is in the way of the configuration.
func inState(arn string) string {
	return arn + " is in the state folder, because a request created it; start without this configuration and delete it, or use another folder"
}

// claimAlias is checkNewAlias for a configured resource.
func claimAlias[T interface{ common() resource }](b *setup, t *table[T], r resource) error {
	err := checkNewAlias(t, r)
	if other := findByAlias(t, r.aliasARN()); err != nil && other != "" && !b.configured[other] {
		return fmt.Errorf("%w; %s", err, inState(other))
	}
	return err
}

// resource returns the common part of a configured resource.
func (b *setup) resource(arn, name, alias string) resource {
	now := b.now().UTC().Truncate(time.Second)
	return resource{ARN: arn, Name: name, Alias: alias, Enabled: true, Created: now, Updated: now, origin: origin{Configured: true}}
}

func (b *setup) addAnchor(cfg TrustAnchor, i int) error {
	cfg.ARN = cmp.Or(cfg.ARN, DefaultTrustAnchorARN(b.region, b.account, i+1))
	if _, err := b.ownARN(cfg.ARN, "trust-anchor"); err != nil {
		return err
	}
	if err := claim(b, &b.anchors, "trust anchor", cfg.ARN); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("trust anchor %s: %w", cfg.ARN, err) }
	a := &anchor{resource: b.resource(cfg.ARN, "trust anchor "+strconv.Itoa(i+1), cfg.Alias)}
	if err := claimAlias(b, &b.anchors, a.resource); err != nil {
		return err
	}
	var err error
	if a.Certificates, err = readCertificates(cfg); err != nil {
		return fail(err)
	}
	if err := a.parse(); err != nil {
		return fail(err)
	}
	add(b, &b.anchors, a.ARN, a)
	crls, err := loadCRLs(cfg.CRLs, cfg.CRLFiles)
	if err != nil {
		return fail(err)
	}
	if err := b.checkCRLs(a.ARN, len(crls)); err != nil {
		return fail(err)
	}
	for _, data := range crls {
		b.crlCount++
		c := &crl{resource: b.resource(defaultARN("crl", b.region, b.account, b.crlCount), "CRL "+strconv.Itoa(b.crlCount), ""), TrustAnchorARN: a.ARN, Data: data}
		if err := c.parse(); err != nil {
			return fail(err)
		}
		if err := claim(b, &b.crls, "CRL", c.ARN); err != nil {
			return fail(err)
		}
		add(b, &b.crls, c.ARN, c)
	}
	return nil
}

// checkCRLs limits the CRLs of a trust anchor, n configured ones and those in the state.
func (b *setup) checkCRLs(anchor string, n int) error {
	for arn, c := range b.crls.all() {
		if c.TrustAnchorARN != anchor {
			continue
		}
		if n++; n > maxAnchorCRLs {
			return fmt.Errorf("it would have more than %d CRLs; %s", maxAnchorCRLs, inState(arn))
		}
	}
	return nil
}

func (b *setup) addRole(cfg Role, i int) error {
	if cfg.ARN == "" {
		if i > 0 {
			return fmt.Errorf("role %d has no ARN", i+1)
		}
		cfg.ARN = DefaultRoleARN(b.region, b.account)
	}
	id, err := b.ownARN(cfg.ARN, "role")
	if err != nil {
		return err
	}
	if err := claim(b, &b.roles, "role", cfg.ARN); err != nil {
		return err
	}
	if other, used := b.roleByName(id.account, id.name); used {
		err := fmt.Errorf("%s and %s have the same role name; IAM allows a name once in an account", other.ARN, cfg.ARN)
		if !other.Configured {
			err = fmt.Errorf("%w; %s", err, inState(other.ARN))
		}
		return err
	}
	r := &role{ARN: cfg.ARN, ID: roleID(cfg.ARN), Created: b.now().UTC().Truncate(time.Second), Max: cmp.Or(cfg.MaxSessionDuration, defaultDuration), origin: origin{Configured: true}}
	if r.Max < defaultDuration || r.Max > maxDuration {
		return fmt.Errorf("role %s: maximum session duration of %d s is not between %d and %d",
			cfg.ARN, r.Max, defaultDuration, maxDuration)
	}
	if r.TrustPolicy, err = readPolicy(cfg); err == nil {
		err = r.parse()
	}
	if err != nil {
		return fmt.Errorf("trust policy of role %s: %w", cfg.ARN, err)
	}
	add(b, &b.roles, r.ARN, r)
	return nil
}

// addProfile must be called after all roles are added, because profiles refer
// to roles.
func (b *setup) addProfile(cfg Profile, i int) error {
	cfg.ARN = cmp.Or(cfg.ARN, DefaultProfileARN(b.region, b.account, i+1))
	id, err := b.ownARN(cfg.ARN, "profile")
	if err != nil {
		return err
	}
	if err := claim(b, &b.profiles, "profile", cfg.ARN); err != nil {
		return err
	}
	p := &profile{
		resource:        b.resource(cfg.ARN, "profile "+strconv.Itoa(i+1), cfg.Alias),
		DurationSeconds: cmp.Or(cfg.DurationSeconds, defaultDuration), AcceptRoleSessionName: cfg.AcceptRoleSessionName,
		Mappings: defaultMappings(),
	}
	p.Enabled = !cfg.Disabled
	if err := claimAlias(b, &b.profiles, p.resource); err != nil {
		return err
	}
	if p.DurationSeconds < minDuration || p.DurationSeconds > maxDuration {
		return fmt.Errorf("profile %s: duration of %d s is not between %d and %d",
			p.ARN, p.DurationSeconds, minDuration, maxDuration)
	}
	if p.RoleARNs, err = b.profileRoles(cfg.RoleARNs, id.account); err != nil {
		return fmt.Errorf("profile %s: %w", p.ARN, err)
	}
	add(b, &b.profiles, p.ARN, p)
	return nil
}

// profileRoles checks the roles of a profile, which must belong to the account of
// the profile. Without any, it returns all configured roles of the account.
func (b *setup) profileRoles(arns []string, account string) ([]string, error) {
	for _, arn := range arns {
		switch role, ok := b.roles.get(arn); {
		case !ok:
			return nil, fmt.Errorf("role %s is not configured", arn)
		case role.arn.account != account:
			return nil, fmt.Errorf("role %s does not belong to account %s of the profile", arn, account)
		}
	}
	if len(arns) > 0 {
		return slices.Clone(arns), nil
	}
	var own []string
	for arn, r := range b.roles.all() {
		if r.Configured && r.arn.account == account {
			own = append(own, arn)
		}
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("no role of its account %s is configured", account)
	}
	return own, nil
}

// ownARN parses an ARN. It refuses ARNs outside the emulator's partition and,
// for regional resources, outside its region and with a path, because IDs have no
// slash.
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
	if kind != "role" && strings.Count(v, "/") > 1 {
		return arn{}, fmt.Errorf("%s has a path; the ARN of a %s ends in %s/ID, and an ID has no slash", v, kind, kind)
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

// readPolicy returns the trust policy of a configured role, or "" if there is none. A
// file always has one.
func readPolicy(cfg Role) (string, error) {
	if cfg.TrustPolicyFile == "" {
		return cfg.TrustPolicy, nil
	}
	if cfg.TrustPolicy != "" {
		return "", errors.New("given both inline and as a file")
	}
	b, err := readFile(cfg.TrustPolicyFile, maxFile)
	if err != nil {
		return "", err
	}
	if _, err := trustpolicy.Parse(b); err != nil {
		return "", fmt.Errorf("%s: %w", cfg.TrustPolicyFile, err)
	}
	return string(b), nil
}
