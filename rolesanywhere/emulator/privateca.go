package emulator

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// maxIssued limits the memory for issued certificates.
const maxIssued = 10_000

const (
	privateCAService = "acm-pca"
	sourcePrivateCA  = "acm-pca.amazonaws.com"
)

var privateCAOperations = lookup.Table[string, func(*Server, *rpcRequest) (any, error)]{
	{actionIssueCertificate, (*Server).issueCertificate},
	{actionGetCertificate, (*Server).getCertificate},
}

// A PrivateCA is a CA of AWS Private CA. Its certificate is that of a trust anchor
// with its key. The zero value is none.
type PrivateCA struct {
	ARN     string        `toml:"arn"` // default: DefaultPrivateCAARN
	Key     crypto.Signer `toml:"-"`   // borrowed; safe for concurrent use
	KeyFile string        `toml:"key_file"`
	// RoleARNs are the roles whose sessions may issue certificates, besides the
	// administrator. Default: every role of the CA's account.
	RoleARNs []string `toml:"role_arns"`
	// ShortLived limits the validity to seven days.
	ShortLived bool `toml:"short_lived"`
}

// DefaultPrivateCAARN returns the default ARN of the CA.
func DefaultPrivateCAARN(region, account string) string {
	return fmt.Sprintf("arn:%s:acm-pca:%s:%s:certificate-authority/00000000-0000-0000-0000-000000000001", partition(region), region, account)
}

// PrivateCAARN returns the ARN of the CA, or "" if there is none.
func (s *Server) PrivateCAARN() string {
	if s.ca == nil {
		return ""
	}
	return s.ca.arn
}

// A privateCA is the configured CA with its certificates.
type privateCA struct {
	arn, account string
	cert         *x509.Certificate
	key          crypto.Signer
	roles        []string // that may use it; empty: all of the account
	shortLived   bool

	mu     sync.Mutex
	issued map[string]*issuedCertificate // by ARN
	tokens map[string]idempotent         // by role and token
}

type issuedCertificate struct {
	der     []byte
	pending int // calls of GetCertificate until it is ready
}

type idempotent struct {
	arn   string
	until time.Time
}

// addPrivateCA must be called after all trust anchors and roles are added.
func (s *Server) addPrivateCA(cfg PrivateCA) error {
	key := cfg.Key
	if cfg.KeyFile != "" {
		b, err := readFile(cfg.KeyFile, maxFile)
		if err == nil {
			key, err = parseKey(b)
		}
		if err != nil {
			return fmt.Errorf("key of the private CA: %s: %w", cfg.KeyFile, err)
		}
	}
	if key == nil {
		if cfg.ARN != "" || len(cfg.RoleARNs) > 0 || cfg.ShortLived {
			return errors.New("the private CA has no key")
		}
		return nil
	}
	ca := &privateCA{
		arn: cmp.Or(cfg.ARN, DefaultPrivateCAARN(s.region, s.account)), key: key, roles: slices.Clone(cfg.RoleARNs), shortLived: cfg.ShortLived,
		issued: make(map[string]*issuedCertificate), tokens: make(map[string]idempotent),
	}
	var ok bool
	if ca.account, ok = s.parseCAARN(ca.arn); !ok {
		return fmt.Errorf("%q is not the ARN of a private CA in region %s", ca.arn, s.region)
	}
	for _, arn := range ca.roles {
		if _, ok := s.roles.get(arn); !ok {
			return fmt.Errorf("private CA: role %s is not configured", arn)
		}
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for _, a := range s.anchors.all() {
		for _, c := range a.certs {
			if ok && pub.Equal(c.PublicKey) {
				ca.cert = c
			}
		}
	}
	if ca.cert == nil {
		return errors.New("the key of the private CA belongs to no certificate of a trust anchor")
	}
	s.ca = ca
	return nil
}

// parseKey parses a private key in PEM that is not encrypted.
func parseKey(b []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return nil, errors.New("contains no private key in PEM")
		}
		var key any
		var err error
		switch {
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY" && len(block.Headers) == 0:
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY" && len(block.Headers) == 0:
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, errors.New("the private key is encrypted, which the emulator does not support")
		default:
			continue // such as EC PARAMETERS or a certificate
		}
		switch {
		case err != nil && isMLDSAKey(block.Bytes):
			return nil, errors.New("the private CA of the emulator does not support ML-DSA keys; use an RSA or an ECDSA key")
		case err != nil:
			return nil, errors.New("the private key is damaged")
		}
		switch key := key.(type) {
		case *ecdsa.PrivateKey:
			return key, nil
		case *rsa.PrivateKey:
			return key, nil
		}
		return nil, errors.New("the private key is neither an RSA nor an ECDSA key")
	}
}

// isMLDSAKey reports whether PKCS #8 names ML-DSA (RFC 9881, section 6), which
// crypto/x509 does not know before Go 1.27.
func isMLDSAKey(der []byte) bool {
	var key struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	_, err := asn1.Unmarshal(der, &key)
	return err == nil && mldsa.ParametersFor(key.Algorithm.Algorithm) != nil
}

// parseCAARN returns the account in the ARN of a CA of the emulator's region. In a
// request the region is that of the endpoint.
func (s *Server) parseCAARN(v string) (account string, ok bool) {
	parts := strings.Split(v, ":")
	if len(v) > 200 || len(parts) != 6 || parts[0] != "arn" || parts[1] != partition(s.region) || parts[2] != privateCAService || parts[3] != s.region || !isAccount(parts[4]) {
		return "", false
	}
	id, ok := strings.CutPrefix(parts[5], "certificate-authority/")
	return parts[4], ok && isWord(id)
}

// authorize returns an error if the caller may not use the CA with an ARN, or if
// there is no such CA.
func (s *Server) authorize(caller *session, action, arn string) error {
	if s.ca == nil {
		return refuse(codeUnknown, msgNoPrivateCA)
	}
	account, ok := s.parseCAARN(arn)
	if !ok {
		return refuse(codeInvalidARN, msgInvalidARN, arn)
	}
	permitted := caller.isAdministrator() || len(s.ca.roles) == 0 || slices.Contains(s.ca.roles, caller.RoleARN)
	if account != caller.Account || !permitted {
		return refuse(codeAccessDenied, msgSTSDenied, caller.User.ARN, "acm-pca:"+action, arn)
	}
	if arn != s.ca.arn {
		return refuse(codeNotFound, msgNotFound, arn)
	}
	return nil
}
