// Package emulator is a local emulator of IAM Roles Anywhere, and of what it needs of
// IAM, STS, CloudTrail and AWS Private CA, for tests and demonstrations. It implements
// CreateSession and the control plane of Roles Anywhere, roles of IAM, AssumeRole and
// GetCallerIdentity, LookupEvents, and IssueCertificate and GetCertificate. It verifies
// what AWS verifies: the certificate's chain and revocation, the signature of the
// request, the role's trust policy, and the signature made with the issued credentials.
// It keeps the permission policies of roles, but does not evaluate them.
//
// Its decisions follow the rules of the IAM Roles Anywhere User Guide. It
// shares none of these rules with the client, so tests can use it as an oracle.
// Only the emulator accepts the credentials that it issues, and those of its
// administrator.
package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator/internal/journal"
)

// Defaults of an empty [Config], and the limits of durations.
const (
	DefaultRegion  = "us-east-1"
	DefaultAccount = "111122223333"

	defaultDuration = 3600 // seconds; of profiles and of roles
	minDuration     = 900
	maxDuration     = 43200
)

// A Config describes the first resources of a [Server]. The zero value of every
// field means its default. Without trust anchors the server starts empty. New keeps
// no reference to the slices of a Config.
type Config struct {
	Region  string `toml:"region"`  // default: DefaultRegion
	Account string `toml:"account"` // twelve digits; default: DefaultAccount

	TrustAnchors []TrustAnchor `toml:"trust_anchors"`
	Profiles     []Profile     `toml:"profiles"`   // default: one profile if there is a trust anchor
	Roles        []Role        `toml:"roles"`      // default: one role that trusts every session if there is a trust anchor
	PrivateCA    PrivateCA     `toml:"private_ca"` // default: none
	Faults       Faults        `toml:"faults"`
	// Rates limits the requests per second by the name of the action, such as
	// AssumeRole. Requests above the rate are throttled. Default: no limit.
	Rates map[string]float64 `toml:"rates"`
	// CallerRates is like Rates for each caller separately: a certificate for
	// CreateSession, a user or the session of a role for other actions.
	CallerRates map[string]float64 `toml:"caller_rates"`

	// State is the folder in which resources, sessions and events are kept. Only one
	// Server uses it at a time. Default: they are kept in memory.
	State string `toml:"state"`

	// UI serves a read-only page for people at [PagePath]. It is for listeners that
	// only this machine can reach: it needs no password.
	UI bool `toml:"-"`

	Now    func() time.Time `toml:"-"` // safe for concurrent use; nil: time.Now
	Events io.Writer        `toml:"-"` // receives CloudTrail records as JSON lines, one line per Write, never concurrently; nil: none
	Logger *slog.Logger     `toml:"-"` // logs each request at level Info, with the reason if it was refused; nil: discard
}

// A TrustAnchor is one or two CA certificates with their revocation lists. A
// CRL of another issuer applies if that issuer is in a client's chain.
type TrustAnchor struct {
	ARN              string   `toml:"arn"`   // default: DefaultTrustAnchorARN
	Alias            string   `toml:"alias"` // clients can use the alias ARN too
	Certificates     []byte   `toml:"-"`     // PEM
	CertificateFiles []string `toml:"certificate_files"`
	CRLs             [][]byte `toml:"-"` // PEM or DER; at most two including CRLFiles
	CRLFiles         []string `toml:"crl_files"`
}

// A Profile lists the roles that may be assumed with it.
type Profile struct {
	ARN                   string   `toml:"arn"`              // default: DefaultProfileARN
	Alias                 string   `toml:"alias"`            // clients can use the alias ARN too
	RoleARNs              []string `toml:"role_arns"`        // of the same account; default: every configured role of it
	DurationSeconds       int      `toml:"duration_seconds"` // 900 to 43200; default: 3600
	AcceptRoleSessionName bool     `toml:"accept_role_session_name"`
	Disabled              bool     `toml:"disabled"`
}

// A Role may have a trust policy, an IAM policy document in JSON. Without one
// it trusts every session.
type Role struct {
	ARN                string `toml:"arn"`                  // default for the first role: DefaultRoleARN
	MaxSessionDuration int    `toml:"max_session_duration"` // seconds, 3600 to 43200; default: 3600
	TrustPolicy        string `toml:"trust_policy"`
	TrustPolicyFile    string `toml:"trust_policy_file"`
}

// Faults configures faults of CreateSession and of the actions of AWS Private CA, for
// tests of clients. SessionLifetime also applies to AssumeRole.
type Faults struct {
	Latency     time.Duration `toml:"latency"`      // before each response
	ErrorRate   float64       `toml:"error_rate"`   // fraction of requests that fail, 0 to 1
	ErrorStatus int           `toml:"error_status"` // of failed requests; default: 500
	// Hang sends no response. It closes the connection when the client
	// disconnects or the server stops.
	Hang bool `toml:"hang"`
	// SessionLifetime replaces the lifetime of issued credentials. It may
	// be shorter than the service allows.
	SessionLifetime time.Duration `toml:"session_lifetime"`
	// InProgress is how often GetCertificate reports that a certificate is
	// not issued yet.
	InProgress int `toml:"in_progress"`
}

// DefaultTrustAnchorARN returns the default ARN of the n-th trust anchor,
// counted from 1.
func DefaultTrustAnchorARN(region, account string, n int) string {
	return defaultARN("trust-anchor", region, account, n)
}

func defaultARN(kind, region, account string, n int) string {
	return regionalARN(region, account, kind+fmt.Sprintf("/00000000-0000-0000-0000-%012d", n))
}

// regionalARN returns the ARN of a resource of Roles Anywhere.
func regionalARN(region, account, resource string) string {
	return fmt.Sprintf("arn:%s:rolesanywhere:%s:%s:%s", partition(region), region, account, resource)
}

// DefaultProfileARN returns the default ARN of the n-th profile, counted from
// 1. If no profile is configured, the default profile is the first.
func DefaultProfileARN(region, account string, n int) string {
	return defaultARN("profile", region, account, n)
}

// DefaultRoleARN returns the default ARN of the first role. If no role is
// configured, the default role is the first.
func DefaultRoleARN(region, account string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/demo", partition(region), account)
}

// partitions maps the prefix of a region to its partition, except for aws.
var partitions = lookup.Table[string, string]{
	{"us-gov-", "aws-us-gov"},
	{"cn-", "aws-cn"},
	{"eusc-", "aws-eusc"},
	{"us-iso-", "aws-iso"},
	{"us-isob-", "aws-iso-b"},
	{"eu-isoe-", "aws-iso-e"},
	{"us-isof-", "aws-iso-f"},
}

// globalRegions has the region for which requests to global services are signed, by
// partition.
//
// Source: endpoints of IAM in the AWS SDK for Go, service/iam v1.66.0.
var globalRegions = lookup.Table[string, string]{
	{"aws", "us-east-1"},
	{"aws-us-gov", "us-gov-west-1"},
	{"aws-cn", "cn-north-1"},
	{"aws-eusc", "eusc-de-east-1"},
	{"aws-iso", "us-iso-east-1"},
	{"aws-iso-b", "us-isob-east-1"},
	{"aws-iso-e", "eu-isoe-west-1"},
	{"aws-iso-f", "us-isof-south-1"},
}

func partition(region string) string {
	for _, of := range partitions {
		if strings.HasPrefix(region, of.Key) {
			return of.Value
		}
	}
	return "aws"
}

// A Server is the emulator as a [net/http.Handler]. It is safe for concurrent
// use.
type Server struct {
	region, account string

	mu sync.RWMutex // guards the resources
	resources
	journal *journal.Journal // nil: the resources are only in memory

	admin  *session
	ca     *privateCA // nil: none
	faults Faults
	now    func() time.Time
	logger *slog.Logger
	events eventLog
	limits limits
	points pointCache
	page   *userPage // nil: none
}

// Region returns the region of the emulator.
func (s *Server) Region() string { return s.region }

// HasState reports whether there is a state folder.
func (s *Server) HasState() bool { return s.journal != nil }

// TrustAnchorARNs returns the ARNs of the trust anchors in the order of their
// creation.
func (s *Server) TrustAnchorARNs() []string { return arns(s, &s.anchors) }

// ProfileARNs is like [Server.TrustAnchorARNs] for profiles.
func (s *Server) ProfileARNs() []string { return arns(s, &s.profiles) }

// RoleARNs is like [Server.TrustAnchorARNs] for roles.
func (s *Server) RoleARNs() []string { return arns(s, &s.roles) }

func arns[T any](s *Server, t *table[T]) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(t.keys)
}

// SecondRoleARNs is like [Server.TrustAnchorARNs] for the roles that no profile
// contains: only a session of another role can assume them.
func (s *Server) SecondRoleARNs() (second []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for arn := range s.roles.all() {
		listed := false
		for _, p := range s.profiles.all() {
			listed = listed || slices.Contains(p.RoleARNs, arn)
		}
		if !listed {
			second = append(second, arn)
		}
	}
	return second
}

// New checks cfg, reads the files that it names, and returns a Server for it. The
// caller closes the Server.
func New(cfg Config) (_ *Server, err error) {
	s := &Server{
		region:    cmp.Or(cfg.Region, DefaultRegion),
		account:   cmp.Or(cfg.Account, DefaultAccount),
		resources: newResources(),
		now:       cfg.Now,
		logger:    logging.OrDiscard(cfg.Logger),
		events:    eventLog{w: cfg.Events},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if cfg.UI {
		s.page = newUserPage(s)
	}
	if !isRegion(s.region) {
		return nil, fmt.Errorf("emulator: invalid region %q", s.region)
	}
	if !isAccount(s.account) {
		return nil, fmt.Errorf("emulator: invalid account ID %q; account IDs have 12 digits", s.account)
	}
	if cfg.State != "" {
		err = s.openState(cfg.State)
	}
	if err == nil {
		err = s.configure(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", errors.Join(err, s.closeState()))
	}
	return s, nil
}

// Close releases the state folder. If there is one, requests that change
// something fail afterwards. It must be called only once.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeState()
}
