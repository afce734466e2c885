package emulator

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// maxSkew is the maximum difference between the clocks of client and emulator.
//
// Source: AWS IAM User Guide, "AWS Signature Version 4 for API requests", for most
// requests. Messages of STS name 15 minutes.
const maxSkew = 5 * time.Minute

// packedPolicySize is a percentage of the size that STS allows. No client reads
// it.
const packedPolicySize = 10

type createSessionOutput struct {
	CredentialSet []credentialSet `json:"credentialSet"`
	SubjectARN    string          `json:"subjectArn"`
}

type credentialSet struct {
	AssumedRoleUser  assumedRoleUser   `json:"assumedRoleUser"`
	Credentials      credentialsOutput `json:"credentials"`
	PackedPolicySize int               `json:"packedPolicySize"`
	RoleARN          string            `json:"roleArn"`
	SourceIdentity   string            `json:"sourceIdentity"`
}

type assumedRoleUser struct {
	ARN string `json:"arn" xml:"Arn"`
	ID  string `json:"assumedRoleId" xml:"AssumedRoleId"`
}

type credentialsOutput struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken"`
	Expiration      string `json:"expiration"`
}

// createSession handles a CreateSession request and records details in ev. The
// order of its checks, and of those of issue, determines which error a client gets if
// there are several.
func (s *Server) createSession(r *http.Request, body []byte, ev *event) (*createSessionOutput, error) {
	ev.AdditionalEventData = signatureFindings(r)
	p, err := parseParams(r.URL.RawQuery, body)
	if err != nil {
		return nil, err
	}
	logged := &sessionParameters{params: p}
	ev.RequestParameters, ev.AdditionalEventData.Ignored = logged, p.ignored
	if err := p.check(); err != nil {
		return nil, err
	}
	use, err := s.resolve(&p)
	if err != nil {
		return nil, err
	}
	ev.Resources = []eventResource{
		{use.anchor.account(), typeAnchor, use.anchor.ARN}, {use.profile.account(), typeProfile, use.profile.ARN}, {use.role.arn.account, typeRole, use.role.ARN},
	}

	now := s.now()
	chains, err := authenticate(r, body, use, logged, now, s.region)
	ev.verified, ev.AdditionalEventData.NotVerified = err == nil, err != nil && logged.SerialNumber != ""
	if err == nil {
		sum := sha256.Sum256(chains[0][0].Raw)
		err = s.limits.checkCaller(actionCreateSession, string(sum[:]), codeThrottling, now)
	}
	if err != nil {
		return nil, err
	}
	out, err := s.issue(r.Context(), p, use, chains, now, ev)
	ev.also = append(ev.also, func(c *changes) { s.see(c, chains[0][0], p.Properties, now, err != nil) })
	return out, err
}

// issue issues a session for an authenticated certificate with its valid chains.
func (s *Server) issue(ctx context.Context, p params, use named, chains [][]*x509.Certificate, now time.Time, ev *event) (*createSessionOutput, error) {
	if use.anchor.Enabled && use.anchor.CheckCRLDP {
		var err error
		if use, err = s.checkPointsFirst(ctx, p, use, chains, now); err != nil {
			return nil, err
		}
	}
	anchor, profile, role := use.anchor, use.profile, use.role
	if !anchor.Enabled {
		return nil, refuse(codeAccessDenied, msgAnchorDisabled, p.TrustAnchorARN)
	}
	if !profile.Enabled {
		return nil, refuse(codeAccessDenied, msgDisabled, p.ProfileARN)
	}
	if profile.RequireProperties && len(p.Properties) == 0 {
		return nil, refuse(codeAccessDenied, msgProperties, p.ProfileARN)
	}
	if !slices.Contains(profile.RoleARNs, p.RoleARN) {
		return nil, refuse(codeAccessDenied, msgAssume, p.RoleARN).because(errors.New("role is not in the profile"))
	}
	lifetime, err := s.lifetime(p, profile, role)
	if err != nil {
		return nil, err
	}
	cert := chains[0][0]
	name := trustpolicy.SerialNumber(cert)
	if p.RoleSessionName != "" {
		if !profile.AcceptRoleSessionName {
			return nil, refuse(codeAccessDenied, msgSessionName)
		}
		name = p.RoleSessionName
	}
	source, tags, err := authorize(p, profile, role, anchor, cert, name)
	if err != nil {
		return nil, err
	}

	user := role.user(name)
	issued := newSession(user, role.arn.account, now, lifetime)
	issued.RoleARN, issued.Source, issued.Tags = p.RoleARN, source, tags // not transitive
	ev.also = append(ev.also, func(c *changes) { s.addSession(c, issued) })
	out := &createSessionOutput{
		CredentialSet: []credentialSet{{
			AssumedRoleUser: user,
			Credentials: credentialsOutput{
				AccessKeyID:     issued.AccessKeyID,
				SecretAccessKey: issued.Secret,
				SessionToken:    issued.Token,
				Expiration:      issued.Expires.Format(time.RFC3339),
			},
			PackedPolicySize: packedPolicySize,
			RoleARN:          p.RoleARN,
			SourceIdentity:   source,
		}},
		SubjectARN: s.subjectARN(cert),
	}
	ev.ResponseElements = responseElements(out)
	ev.beside = []event{ev.assumedByService(issued, name, lifetime)}
	return out, nil
}

// checkPointsFirst checks the distribution points of the chains. As that takes time, it
// returns the resources as they are afterwards.
func (s *Server) checkPointsFirst(ctx context.Context, p params, use named, chains [][]*x509.Certificate, now time.Time) (named, error) {
	chain, err := s.checkPoints(ctx, chains, now)
	if err != nil {
		return named{}, err
	}
	after, err := s.resolve(&p)
	if err != nil {
		return named{}, err
	}
	if after.anchor.Certificates != use.anchor.Certificates {
		return named{}, refuse(codeAccessDenied, msgUntrusted).because(errors.New("the trust anchor changed while its distribution points were read; try again"))
	}
	if c := revoked(chain, after.lists); c != nil {
		return named{}, refuse(codeAccessDenied, msgRevoked, trustpolicy.SerialNumber(c), c.Issuer)
	}
	return after, nil
}

// errNotHere is the usual reason why a resource is unknown.
var errNotHere = errors.New("without a state folder, each start begins without the resources of the last one")

// named are the resources that a request names, all as they are at one moment, and the
// enabled revocation lists of the trust anchor.
type named struct {
	anchor  *anchor
	profile *profile
	role    *role
	lists   []*revocationList
}

// resolve returns the resources that a request names. It replaces alias ARNs in p,
// because policies see only the ARN with the ID.
func (s *Server) resolve(p *params) (use named, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ok bool
	if use.anchor, ok = find(&s.anchors, p.TrustAnchorARN); !ok {
		return named{}, refuse(codeNotFound, msgNotFound, p.TrustAnchorARN).because(errNotHere)
	}
	if use.profile, ok = find(&s.profiles, p.ProfileARN); !ok {
		return named{}, refuse(codeNotFound, msgNotFound, p.ProfileARN).because(errNotHere)
	}
	if use.role, ok = s.roles.get(p.RoleARN); !ok {
		return named{}, refuse(codeNotFound, msgNotFound, p.RoleARN).because(errNotHere)
	}
	p.TrustAnchorARN, p.ProfileARN = use.anchor.ARN, use.profile.ARN
	use.lists = s.lists(use.anchor.ARN)
	return use, nil
}

// authenticate verifies the certificate and the signature of a request and
// returns the valid chains that begin with the certificate. It records the certificate in
// logged.
func authenticate(r *http.Request, body []byte, use named, logged *sessionParameters, now time.Time, region string) ([][]*x509.Certificate, error) {
	signed, err := sigv4x509.Parse(r)
	if errors.Is(err, errors.ErrUnsupported) { // unsupported key type of the certificate
		return nil, refuse(codeAccessDenied, msgInsufficient).because(err)
	}
	if err != nil {
		return nil, refuse(codeAccessDenied, msgMalformed, err)
	}
	cert := signed.Certificate
	logged.SerialNumber, logged.Subject, logged.Issuer = trustpolicy.SerialNumber(cert), cert.Subject.String(), cert.Issuer.String()

	chains, err := use.anchor.verify(cert, signed.Chain, use.lists, now)
	if err != nil {
		return nil, err
	}
	if err := signed.Verify(r, body); err != nil {
		return nil, refuse(codeAccessDenied, msgInvalidSignature).because(err)
	}
	if signed.Region != region {
		return nil, refuse(codeAccessDenied, msgInvalidSignature).because(
			fmt.Errorf("credential scope has region %s, not %s", signed.Region, region))
	}
	return chains, checkSkew(codeAccessDenied, signed.Time, now)
}

func checkSkew(code string, signed, now time.Time) error {
	switch {
	case now.Sub(signed) > maxSkew:
		return refuse(code, msgSignatureExpired, signed.Format(time.RFC3339), maxSkew, now.UTC().Format(time.RFC3339))
	case signed.Sub(now) > maxSkew:
		return refuse(code, msgSignatureFuture, signed.Format(time.RFC3339), maxSkew, now.UTC().Format(time.RFC3339))
	}
	return nil
}

// lifetime returns the lifetime of a session: the smaller one of the profile's
// and the requested duration. If it exceeds the role's maximum, the request is
// refused.
func (s *Server) lifetime(p params, profile *profile, role *role) (time.Duration, error) {
	seconds := profile.DurationSeconds
	if p.DurationSeconds != nil {
		seconds = min(seconds, *p.DurationSeconds)
	}
	if seconds > role.Max {
		return 0, refuse(codeAccessDenied, msgMaxDuration, p.RoleARN)
	}
	if s.faults.SessionLifetime > 0 {
		return s.faults.SessionLifetime, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// authorize checks the tags and the role's trust policy, as AssumeRole does,
// and returns the source identity and the tags.
func authorize(p params, profile *profile, role *role, anchor *anchor, cert *x509.Certificate, name string) (source string, tags map[string]string, err error) {
	tags, unmapped := profile.mapping().SessionTags(cert)
	if len(unmapped) > 0 {
		return "", nil, refuse(codeAccessDenied, msgTags, p.RoleARN, list(unmapped[trustpolicy.Issuer]), list(unmapped[trustpolicy.Subject]), list(unmapped[trustpolicy.SAN]))
	}
	source = trustpolicy.SourceIdentity(cert)
	if len(name) > trustpolicy.MaxIdentity || len([]rune(source)) > trustpolicy.MaxIdentity {
		return "", nil, refuse(codeAccessDenied, msgAssume, p.RoleARN).because(
			fmt.Errorf("session name or source identity is longer than %d characters", trustpolicy.MaxIdentity))
	}
	if role.policy != nil {
		request := trustpolicy.CreateSession(p.TrustAnchorARN, anchor.account(), source, name, tags)
		if err := role.policy.Allows(request); err != nil {
			return "", nil, refuse(codeAccessDenied, msgAssume, p.RoleARN).because(explainDenial(role.policy, request, err))
		}
	}
	return source, tags, nil
}

func list(names []string) string { return strings.Join(names, ", ") }

// user returns the user of a session with this name.
func (r *role) user(name string) assumedRoleUser {
	return assumedRoleUser{
		ARN: fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", r.arn.partition, r.arn.account, r.arn.name, name),
		ID:  r.ID + ":" + name,
	}
}

// roleID returns the unique ID of a configured role, which STS puts before the
// session name.
func roleID(roleARN string) string {
	id, sum := "AROA", sha256.Sum256([]byte(roleARN))
	for _, b := range sum[:17] { // package encoding/base32 would make tables whenever the program starts
		id += string("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[b%32])
	}
	return id
}

// subjectARN returns the ARN of the Subject resource for the subject of cert.
func (s *Server) subjectARN(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubject)
	return fmt.Sprintf("arn:%s:rolesanywhere:%s:%s:subject/%s",
		partition(s.region), s.region, s.account, formatUUID([16]byte(sum[:16]), 8))
}
