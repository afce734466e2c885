package emulator

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// A resource is what trust anchors, profiles and revocation lists have in common.
type resource struct {
	ARN     string            `json:"arn"`
	Name    string            `json:"name"`
	Alias   string            `json:"alias,omitempty"`
	Enabled bool              `json:"enabled"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`
	Tags    map[string]string `json:"tags,omitempty"`
	origin

	previousAlias string // that an update replaced; only for its response
}

// An origin says whether a resource comes from the Config, which replaces it at each
// start.
type origin struct {
	Configured bool `json:"configured,omitempty"`
	Edited     bool `json:"edited,omitempty"` // by a request since the start
}

func (o origin) from() origin { return o }

// edit records that a request changes the resource.
func (o *origin) edit() { o.Edited = o.Configured }

func (r resource) common() resource { return r }

// id returns the last part of the ARN.
func (r resource) id() string { return lastElement(r.ARN) }

// account returns the account in the ARN.
func (r resource) account() string { return strings.SplitN(r.ARN, ":", 6)[4] }

// aliasARN returns the ARN with the alias, or "".
func (r resource) aliasARN() string {
	if r.Alias == "" {
		return ""
	}
	return aliasARN(r.ARN, r.Alias)
}

// A profile lists the roles that may be assumed with it.
type profile struct {
	resource
	RoleARNs              []string           `json:"roleArns"`
	DurationSeconds       int                `json:"durationSeconds"`
	AcceptRoleSessionName bool               `json:"acceptRoleSessionName"`
	ManagedPolicyARNs     []string           `json:"managedPolicyArns,omitempty"`
	SessionPolicy         string             `json:"sessionPolicy,omitempty"`
	RequireProperties     bool               `json:"requireInstanceProperties"`
	Mappings              []attributeMapping `json:"attributeMappings"`
}

// An attributeMapping is the specifiers of a field of a certificate that become
// session tags.
type attributeMapping struct {
	Field string        `json:"certificateField"`
	Rules []mappingRule `json:"mappingRules"`
}

type mappingRule struct {
	Specifier string `json:"specifier"`
}

// A notificationSetting is how the owner of a trust anchor is told about an event.
type notificationSetting struct {
	Channel      string `json:"channel"`
	ConfiguredBy string `json:"configuredBy,omitempty"`
	Enabled      bool   `json:"enabled"`
	Event        string `json:"event"`
	Threshold    int    `json:"threshold,omitempty"`
}

// A role is an IAM role.
type role struct {
	ARN         string            `json:"arn"`
	ID          string            `json:"id"`
	Description string            `json:"description,omitempty"`
	Created     time.Time         `json:"created"`
	Max         int               `json:"maxSessionDuration"`         // seconds
	TrustPolicy string            `json:"trustPolicy,omitempty"`      // "": trusts every session
	Attached    []string          `json:"attachedPolicies,omitempty"` // ARNs of managed policies
	Inline      map[string]string `json:"inlinePolicies,omitempty"`   // documents by name
	Tags        map[string]string `json:"tags,omitempty"`
	origin

	arn    arn
	policy *trustpolicy.Policy // nil: trusts every session
}

// clone returns a copy whose attributes can be changed.
func (r *role) clone() *role {
	c := *r
	c.Attached, c.Inline, c.Tags = slices.Clone(r.Attached), maps.Clone(r.Inline), maps.Clone(r.Tags)
	return &c
}

// A managedPolicy is a policy of the account. It has one version.
type managedPolicy struct {
	ARN         string            `json:"arn"`
	ID          string            `json:"id"`
	Description string            `json:"description,omitempty"`
	Created     time.Time         `json:"created"`
	Document    string            `json:"document"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// parse parses the ARN and the trust policy.
func (r *role) parse() (err error) {
	if r.arn, err = parseARN(r.ARN, "role"); err != nil {
		return err
	}
	if r.TrustPolicy == "" {
		return nil
	}
	if r.policy, err = trustpolicy.Parse([]byte(r.TrustPolicy)); err != nil {
		return err
	}
	return r.policy.CheckPartition(r.arn.partition)
}

// resources are all resources. Server.mu guards them.
type resources struct {
	anchors  table[*anchor]
	profiles table[*profile]
	crls     table[*crl]
	roles    table[*role]
	policies table[*managedPolicy]
	subjects table[*subject]
	sessions table[*session]
	history  history
	about    table[string] // account and region of the state
}

func newResources() resources {
	return resources{
		anchors:  newTable[*anchor]("trust-anchors"),
		profiles: newTable[*profile]("profiles"),
		crls:     newTable[*crl]("crls"),
		roles:    newTable[*role]("roles"),
		policies: newTable[*managedPolicy]("policies"),
		subjects: newTable[*subject]("subjects"),
		sessions: newTable[*session]("sessions"),
		history:  newHistory(),
		about:    newTable[string]("about"),
	}
}

// findByAlias returns the key of the row that has an alias ARN, or "".
func findByAlias[T interface{ common() resource }](t *table[T], alias string) string {
	for key, r := range t.all() {
		if alias != "" && r.common().aliasARN() == alias {
			return key
		}
	}
	return ""
}

// find returns the row with an ARN, or with an alias ARN.
func find[T interface{ common() resource }](t *table[T], arn string) (T, bool) {
	if v, ok := t.get(arn); ok {
		return v, true
	}
	return t.get(findByAlias(t, arn))
}

// lists returns the enabled revocation lists of a trust anchor.
func (s *Server) lists(anchor string) (all []*revocationList) {
	for _, c := range s.crls.all() {
		if c.TrustAnchorARN == anchor && c.Enabled {
			all = append(all, c.parsed)
		}
	}
	return all
}

// roleByName returns the role with a name, which is not distinguished by case and is
// unique in an account whatever its path is.
//
// Source: AWS IAM API Reference, CreateRole.
func (s *Server) roleByName(account, name string) (*role, bool) {
	for _, r := range s.roles.all() {
		if r.arn.account == account && strings.EqualFold(r.arn.name, name) {
			return r, true
		}
	}
	return nil, false
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
