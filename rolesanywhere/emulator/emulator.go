// Package emulator is a local Roles Anywhere and STS for tests and
// demonstrations. It answers CreateSession and GetCallerIdentity as AWS does
// and verifies what AWS verifies: the certificate's chain and revocation, the
// signature of the request, the role's trust policy, and later the signature
// made with the credentials that it issued.
//
// It decides on its own by the rules of the IAM Roles Anywhere User Guide and
// shares no rule with the client, so that it can serve as an oracle for it. It
// knows no ML-DSA certificates. The credentials that it issues are good for
// itself alone.
package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
)

// What an empty [Config] stands for.
const (
	DefaultRegion  = "us-east-1"
	DefaultAccount = "111122223333"

	defaultDuration = 3600 // seconds; of profiles and of roles
	minDuration     = 900
	maxDuration     = 43200
)

// Config says what a [Server] knows. Only TrustAnchors must be set; the zero
// value of every other field is its default. New reads a Config and keeps no
// reference to its slices.
type Config struct {
	Region  string `toml:"region"`  // default: DefaultRegion
	Account string `toml:"account"` // twelve digits; default: DefaultAccount

	TrustAnchors []TrustAnchor `toml:"trust_anchors"`
	Profiles     []Profile     `toml:"profiles"` // none: one, with every role
	Roles        []Role        `toml:"roles"`    // none: one that trusts every session
	Faults       Faults        `toml:"faults"`

	Now    func() time.Time `toml:"-"` // safe for concurrent use; nil: time.Now
	Events io.Writer        `toml:"-"` // JSON lines in CloudTrail's form, one Write each, never two at once; nil: none
	Logger *slog.Logger     `toml:"-"` // one record for each request, with the reason if it was refused, at level Info; nil: discard
}

// A TrustAnchor is one or two CA certificates and their revocation lists. A
// CRL of some other issuer is used when that issuer stands in a client's chain.
type TrustAnchor struct {
	ARN              string   `toml:"arn"` // default: DefaultTrustAnchorARN
	Certificates     []byte   `toml:"-"`   // PEM
	CertificateFiles []string `toml:"certificate_files"`
	CRLs             [][]byte `toml:"-"` // PEM or DER, at most two with CRLFiles
	CRLFiles         []string `toml:"crl_files"`
}

// A Profile lists the roles that may be assumed with it.
type Profile struct {
	ARN                   string   `toml:"arn"`              // default: DefaultProfileARN
	RoleARNs              []string `toml:"role_arns"`        // none: every role
	DurationSeconds       int      `toml:"duration_seconds"` // 900 to 43200; default: 3600
	AcceptRoleSessionName bool     `toml:"accept_role_session_name"`
	Disabled              bool     `toml:"disabled"`
}

// A Role may have a trust policy, which is an IAM policy document in JSON.
// Without one it trusts every session.
type Role struct {
	ARN                string `toml:"arn"`                  // default for the first role: DefaultRoleARN
	MaxSessionDuration int    `toml:"max_session_duration"` // seconds, 3600 to 43200; default: 3600
	TrustPolicy        string `toml:"trust_policy"`
	TrustPolicyFile    string `toml:"trust_policy_file"`
}

// Faults make CreateSession misbehave, for tests of clients.
type Faults struct {
	Latency     time.Duration `toml:"latency"`      // before each answer
	ErrorRate   float64       `toml:"error_rate"`   // the share of requests that fail, 0 to 1
	ErrorStatus int           `toml:"error_status"` // of those; default: 500
	// Hang answers nothing until the client goes away or the server stops,
	// and then closes the connection.
	Hang bool `toml:"hang"`
	// SessionLifetime replaces the lifetime of issued credentials, also with
	// less than the service allows.
	SessionLifetime time.Duration `toml:"session_lifetime"`
}

// DefaultTrustAnchorARN is the ARN of the n-th trust anchor, counted from 1,
// if it has none of its own.
func DefaultTrustAnchorARN(region, account string, n int) string {
	return fmt.Sprintf("arn:%s:rolesanywhere:%s:%s:trust-anchor/00000000-0000-0000-0000-%012d", partition(region), region, account, n)
}

// DefaultProfileARN is the ARN of the n-th profile, counted from 1, if it has
// none of its own, and of the only one if none is configured.
func DefaultProfileARN(region, account string, n int) string {
	return fmt.Sprintf("arn:%s:rolesanywhere:%s:%s:profile/00000000-0000-0000-0000-%012d", partition(region), region, account, n)
}

// DefaultRoleARN is the ARN of the first role if it has none of its own or if
// none is configured.
func DefaultRoleARN(region, account string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/demo", partition(region), account)
}

// partitions other than aws, by the prefix of their regions.
var partitions = map[string]string{
	"us-gov-":  "aws-us-gov",
	"cn-":      "aws-cn",
	"eusc-":    "aws-eusc",
	"us-iso-":  "aws-iso",
	"us-isob-": "aws-iso-b",
	"eu-isoe-": "aws-iso-e",
	"us-isof-": "aws-iso-f",
}

func partition(region string) string {
	for prefix, name := range partitions {
		if strings.HasPrefix(region, prefix) {
			return name
		}
	}
	return "aws"
}

// A Server is the emulator as an [net/http.Handler]. It is safe for concurrent
// use. Issued sessions live in its memory.
type Server struct {
	region, account string

	anchors  map[string]*anchor
	profiles map[string]Profile
	roles    map[string]role
	arns     struct{ anchors, profiles, roles []string } // as configured

	faults   Faults
	now      func() time.Time
	logger   *slog.Logger
	events   eventLog
	sessions store
}

// TrustAnchorARNs returns the ARNs of the trust anchors in configured order,
// the default ones included.
func (s *Server) TrustAnchorARNs() []string { return slices.Clone(s.arns.anchors) }

// ProfileARNs is like [Server.TrustAnchorARNs] for profiles.
func (s *Server) ProfileARNs() []string { return slices.Clone(s.arns.profiles) }

// RoleARNs is like [Server.TrustAnchorARNs] for roles.
func (s *Server) RoleARNs() []string { return slices.Clone(s.arns.roles) }

type role struct {
	arn    arn
	max    int     // seconds
	policy *policy // nil: trusts every session
}

// New reads the files that cfg names and checks all of cfg.
func New(cfg Config) (*Server, error) {
	s := &Server{
		region:   cmp.Or(cfg.Region, DefaultRegion),
		account:  cmp.Or(cfg.Account, DefaultAccount),
		anchors:  make(map[string]*anchor),
		profiles: make(map[string]Profile),
		roles:    make(map[string]role),
		now:      cfg.Now,
		logger:   logging.OrDiscard(cfg.Logger),
		events:   eventLog{w: cfg.Events},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if !isRegion(s.region) {
		return nil, fmt.Errorf("emulator: %q is not a region", s.region)
	}
	if !isAccount(s.account) {
		return nil, fmt.Errorf("emulator: account %q is not twelve digits", s.account)
	}
	if err := s.configure(cfg); err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	return s, nil
}

func (s *Server) configure(cfg Config) error {
	if len(cfg.TrustAnchors) == 0 {
		return errors.New("no trust anchor")
	}
	for i, a := range cfg.TrustAnchors {
		if err := s.addAnchor(a, i); err != nil {
			return err
		}
	}
	if len(cfg.Roles) == 0 {
		cfg.Roles = []Role{{}}
	}
	for i, r := range cfg.Roles {
		if err := s.addRole(r, i); err != nil {
			return err
		}
	}
	if len(cfg.Profiles) == 0 {
		cfg.Profiles = []Profile{{}}
	}
	for i, p := range cfg.Profiles {
		if err := s.addProfile(p, i); err != nil {
			return err
		}
	}
	return s.setFaults(cfg.Faults)
}
