package signer

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
)

const (
	// maxPath limits the length of a path, and maxSteps the number of paths.
	maxPath  = 16
	maxSteps = 1000

	// maxChecks limits the number of signatures that one search verifies,
	// and maxCandidates those that it verifies to find the issuer of one
	// certificate, because a file can contain any number of certificates
	// with the same name.
	maxChecks     = 1000
	maxCandidates = 100

	// minRSABits is the size of an RSA key below which crypto/rsa verifies
	// no signature.
	minRSABits = 1024

	// maxRSABits limits the size of an issuer's RSA key. The time to verify
	// a signature grows with its square.
	maxRSABits = 16384
)

// A search finds the paths from a leaf to issuers. A path is a sequence of
// certificates, each issued by the next. Each certificate leads from the name
// and key of its subject to those of its issuer; a path never returns to a name
// and key (RFC 4158, section 2.4.2), so circles end.
type search struct {
	bySubject map[string][]*x509.Certificate
	now       time.Time
	checks    int                                       // signatures that may still be verified
	issued    map[link]bool                             // results of signature checks
	ordered   map[*x509.Certificate][]*x509.Certificate // results of issuers
	steps     []*step                                   // the shortest paths first
	roots     map[*step]bool                            // paths whose last certificate a root of certs issued
	byParent  map[*step][]*step                         // in order of preference
}

// A step is the last certificate of a path.
type step struct {
	cert   *x509.Certificate
	before *step // nil for the leaf
	length int

	sound bool // the path obeys RFC 5280, apart from times
	fit   bool // sound, and each issuer is valid now and may issue certificates for clients
	open  bool // the trust anchor may be the next issuer: it is a root or unknown
}

type link struct {
	child *x509.Certificate
	key   string // SubjectPublicKeyInfo of the issuer
}

// newSearch finds the paths from leaf, the shortest first, until the limits are
// reached. A self-signed leaf has no issuers.
func newSearch(leaf *x509.Certificate, certs []*x509.Certificate, now time.Time) *search {
	s := &search{
		bySubject: make(map[string][]*x509.Certificate), now: now, checks: maxChecks,
		issued: make(map[link]bool), ordered: make(map[*x509.Certificate][]*x509.Certificate), roots: make(map[*step]bool), byParent: make(map[*step][]*step),
	}
	seen := make(map[string]bool, len(certs))
	for _, c := range certs {
		if !seen[string(c.Raw)] {
			seen[string(c.Raw)] = true
			s.bySubject[string(c.RawSubject)] = append(s.bySubject[string(c.RawSubject)], c)
		}
	}
	s.steps = []*step{{cert: leaf, length: 1, sound: true, fit: true, open: true}}
	if selfSigned(leaf) {
		return s
	}
	for i := 0; i < len(s.steps); i++ {
		s.extend(s.steps[i])
	}
	return s
}

// extend adds the paths with one more certificate.
func (s *search) extend(at *step) {
	circular := false
	for _, c := range s.issuers(at.cert) {
		switch next := (&step{cert: c, before: at, length: at.length + 1}); {
		case namedAsIssuer(c, c) && s.isIssuer(c, c):
			s.roots[at] = s.roots[at] || outside(c, s.now) == 0
		case s.isCircular(next):
			circular = true
		case next.length <= maxPath && len(s.steps) < maxSteps && s.checks > 0:
			s.add(next)
		}
	}
	at.open = len(s.bySubject[string(at.cert.RawIssuer)]) == 0 || s.roots[at] || circular && len(s.byParent[at]) == 0
}

func (s *search) add(next *step) {
	at := next.before
	next.sound = at.sound && s.isSound(next)
	next.fit = next.sound && at.fit && outside(next.cert, s.now) == 0 && issuesForClients(next.cert)
	s.byParent[at] = append(s.byParent[at], next)
	s.steps = append(s.steps, next)
}

// isCircular reports whether the last certificate of the path has the name and
// key of another one, or was issued by another one. It is then only of use to a
// verifier that needs no certificate above that one.
func (s *search) isCircular(last *step) bool {
	for at := last.before; at != nil; at = at.before {
		if sameEntity(at.cert, last.cert) || bytes.Equal(at.cert.RawSubject, last.cert.RawIssuer) && s.isIssuer(at.cert, last.cert) {
			return true
		}
	}
	return false
}

// sameEntity reports whether a and b have the same subject and key.
func sameEntity(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) && bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// issuers returns the certificates that issued c, in order of preference.
func (s *search) issuers(c *x509.Certificate) []*x509.Certificate {
	if issuers, ok := s.ordered[c]; ok {
		return issuers
	}
	candidates := slices.Clone(s.bySubject[string(c.RawIssuer)])
	slices.SortStableFunc(candidates, func(a, b *x509.Certificate) int {
		return cmp.Or(
			trueLast(!namedAsIssuer(c, a), !namedAsIssuer(c, b)),
			trueLast(!a.IsCA, !b.IsCA),
			trueLast(!issuesForClients(a), !issuesForClients(b)),
			cmp.Compare(outside(a, s.now), outside(b, s.now)),
			b.NotAfter.Compare(a.NotAfter),
		)
	})
	limit := s.checks - maxCandidates
	issuers := slices.DeleteFunc(candidates, func(i *x509.Certificate) bool { return s.checks <= limit || !s.isIssuer(i, c) })
	s.ordered[c] = issuers
	return issuers
}

// isIssuer reports whether the key of issuer made the signature of c. It
// verifies each signature once with each key.
func (s *search) isIssuer(issuer, c *x509.Certificate) bool {
	l := link{c, string(issuer.RawSubjectPublicKeyInfo)}
	issued, checked := s.issued[l]
	if !checked && s.checks > 0 {
		s.checks--
		issued = signed(issuer, c)
		s.issued[l] = issued
	}
	return issued
}

// path returns the certificates of the path, leaf first.
func (at *step) path() (path []*x509.Certificate) {
	for ; at != nil; at = at.before {
		path = append(path, at.cert)
	}
	slices.Reverse(path)
	return path
}

// isSound reports whether the path obeys RFC 5280 apart from times, if its last
// certificate is the trust anchor. It does not judge extensions of the leaf.
func (s *search) isSound(at *step) bool {
	if !at.cert.BasicConstraintsValid || !at.cert.IsCA || certpath.Weak(at.cert.SignatureAlgorithm) || hugeKey(at.cert) {
		return false
	}
	path := at.path()
	s.checks -= len(path) - 1
	for i, c := range path {
		valid := *c
		valid.NotBefore, valid.NotAfter = s.now, s.now
		path[i] = &valid
	}
	path[0].UnhandledCriticalExtensions = nil
	if err := certpath.Check(path); err != nil {
		return false
	}
	_, err := certpath.Verify(path[0], path[len(path)-1:], path[1:len(path)-1], s.now)
	return err == nil || slices.ContainsFunc(path, unknownAlgorithm) // which nobody here can verify
}

// end returns the end of the likeliest path: it is fit and cannot be continued by
// a fit certificate.
func (s *search) end() *step {
	var best *step
	for _, at := range s.steps {
		if at.fit && !slices.ContainsFunc(s.byParent[at], func(next *step) bool { return next.fit }) &&
			(best == nil || s.compareEnds(at, best) < 0) {
			best = at
		}
	}
	return best
}

// chain returns the likeliest path. If its end is not open, it continues with
// certificates that a verifier will refuse, so that the caller can name them.
func (s *search) chain() []*x509.Certificate {
	best := s.end()
	for !best.open && len(s.byParent[best]) > 0 {
		further := s.byParent[best]
		i := slices.IndexFunc(further, func(next *step) bool { return next.sound })
		best = further[max(i, 0)]
	}
	return best.path()
}

// compareEnds prefers paths whose end is open, then those that end below a root,
// then short ones.
func (s *search) compareEnds(a, b *step) int {
	return cmp.Or(trueLast(!a.open, !b.open), trueLast(!s.roots[a], !s.roots[b]), cmp.Compare(a.length, b.length))
}

// alternatives returns the issuer certificates of sound paths that are not in
// chain.
func (s *search) alternatives(chain []*x509.Certificate) (found []*x509.Certificate) {
	for _, rank := range []func(*step) bool{
		func(at *step) bool { return at.fit && (at.open || len(s.byParent[at]) > 0) },
		func(at *step) bool { return at.fit },
		func(at *step) bool { return at.sound },
	} {
		for _, at := range s.steps {
			if rank(at) && !slices.Contains(chain, at.cert) && !slices.Contains(found, at.cert) {
				found = append(found, at.cert)
			}
		}
	}
	return found
}

// selfSigned reports whether c is its own issuer.
func selfSigned(c *x509.Certificate) bool { return namedAsIssuer(c, c) && signed(c, c) }

// signed reports whether the key of issuer made the signature of c. If this
// cannot be verified, because crypto/x509 refuses the algorithm or nobody here knows
// it, names and key identifiers decide.
func signed(issuer, c *x509.Certificate) bool {
	if hugeKey(issuer) {
		return false
	}
	pub, ok := issuer.PublicKey.(*rsa.PublicKey)
	if ok && pub.N.BitLen() < minRSABits || unknownAlgorithm(c) || c.SignatureAlgorithm == x509.MD5WithRSA || PublicKeyOf(issuer) == nil {
		return namedAsIssuer(c, issuer)
	}
	return certpath.CheckSignature(c, issuer) == nil
}

// unknownAlgorithm reports whether the algorithm of the signature of c is not known,
// such as SLH-DSA.
func unknownAlgorithm(c *x509.Certificate) bool { return !certpath.IsKnown(c) }

func hugeKey(c *x509.Certificate) bool {
	pub, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && pub.N.BitLen() > maxRSABits
}

// issuesForClients reports whether the extended key usages of a CA include
// client authentication. Some verifiers demand it of each CA.
func issuesForClients(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}
