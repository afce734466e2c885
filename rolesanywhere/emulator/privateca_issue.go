package emulator

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// The limits of IssueCertificate, from the service model and its documentation.
const (
	maxToken       = 36
	maxCSR         = 32768
	tokenLife      = 5 * time.Minute
	backdated      = time.Hour // notBefore is before the issuance
	maxShortLived  = 7 * 24 * time.Hour
	endDateLayout  = "20060102150405"
	templatePrefix = ":acm-pca:::template/"
)

type issueCertificateInput struct {
	CertificateAuthorityArn string   `json:"certificateAuthorityArn,omitempty"`
	Csr                     []byte   `json:"csr,omitempty"`
	SigningAlgorithm        string   `json:"signingAlgorithm,omitempty"`
	TemplateArn             string   `json:"templateArn,omitempty"`
	Validity                validity `json:"validity,omitzero"`
	IdempotencyToken        string   `json:"idempotencyToken,omitempty"`
}

type validity struct {
	Type  string `json:"type,omitempty"`
	Value int64  `json:"value,omitempty"`
}

type issueCertificateOutput struct {
	CertificateArn string
}

type getCertificateInput struct {
	CertificateAuthorityArn string `json:"certificateAuthorityArn,omitempty"`
	CertificateArn          string `json:"certificateArn,omitempty"`
}

type getCertificateOutput struct{ Certificate, CertificateChain string }

// signingAlgorithms are the algorithms by their names in the service model.
var signingAlgorithms = []struct {
	name      string
	algorithm x509.SignatureAlgorithm
	rsa       bool
}{
	{"SHA256WITHECDSA", x509.ECDSAWithSHA256, false},
	{"SHA384WITHECDSA", x509.ECDSAWithSHA384, false},
	{"SHA512WITHECDSA", x509.ECDSAWithSHA512, false},
	{"SHA256WITHRSA", x509.SHA256WithRSA, true},
	{"SHA384WITHRSA", x509.SHA384WithRSA, true},
	{"SHA512WITHRSA", x509.SHA512WithRSA, true},
}

// templates are the usages of the templates that the emulator supports.
//
// Source: AWS Private CA User Guide, "Understanding certificate templates".
var templates = lookup.Table[string, []x509.ExtKeyUsage]{
	{"EndEntityCertificate/V1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}},
	{"EndEntityClientAuthCertificate/V1", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	{"EndEntityServerAuthCertificate/V1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
}

// issueCertificate issues a certificate and returns its ARN.
func (s *Server) issueCertificate(q *rpcRequest) (any, error) {
	var in issueCertificateInput
	if err := q.input(&in); err != nil {
		return nil, err
	}
	ca, now := s.ca, s.now()
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"certificateAuthorityArn", in.CertificateAuthorityArn == ""}, {"csr", len(in.Csr) == 0},
		{"signingAlgorithm", in.SigningAlgorithm == ""}, {"validity", in.Validity.Type == ""},
	} {
		if required.missing {
			return nil, invalidMember(required.name, "Member must not be null")
		}
	}
	if err := s.authorize(q.caller, actionIssueCertificate, in.CertificateAuthorityArn); err != nil {
		return nil, err
	}
	if now.After(ca.cert.NotAfter) || now.Before(ca.cert.NotBefore) {
		return nil, refuse(codeInvalidState, msgCAState)
	}
	if n := len(in.IdempotencyToken); n > maxToken {
		return nil, invalidMember("idempotencyToken", fmt.Sprintf("Member must have length less than or equal to %d", maxToken))
	}
	template, err := s.template(in, now)
	if err != nil {
		return nil, err
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	key := q.caller.RoleARN + " " + in.IdempotencyToken
	if t, ok := ca.tokens[key]; ok && in.IdempotencyToken != "" && now.Before(t.until) {
		return &issueCertificateOutput{t.arn}, nil
	}
	if len(ca.issued) >= maxIssued {
		return nil, refuse(codeLimit, msgLimit)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, template.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	arn := ca.arn + "/certificate/" + template.SerialNumber.String()
	ca.issued[arn] = &issuedCertificate{der, s.faults.InProgress}
	if in.IdempotencyToken != "" {
		ca.tokens[key] = idempotent{arn, now.Add(tokenLife)}
	}
	return &issueCertificateOutput{arn}, nil
}

// template returns the certificate that a request asks for.
func (s *Server) template(in issueCertificateInput, now time.Time) (*x509.Certificate, error) {
	algorithm, err := s.ca.algorithm(in.SigningAlgorithm)
	if err != nil {
		return nil, err
	}
	name, ok := strings.CutPrefix(in.TemplateArn, "arn:"+partition(s.region)+templatePrefix)
	if in.TemplateArn == "" {
		name, ok = "EndEntityCertificate/V1", true
	}
	usages := templates.Get(name)
	switch {
	case !ok:
		return nil, refuse(codeInvalidARN, msgInvalidARN, in.TemplateArn)
	case usages == nil:
		return nil, refuse(codeInvalidArgs, msgTemplate, name)
	}
	notAfter, err := in.Validity.end(now)
	switch {
	case err != nil:
		return nil, err
	case s.ca.shortLived && notAfter.Sub(now) > maxShortLived:
		return nil, refuse(codeValidation, msgShortLived)
	case notAfter.After(s.ca.cert.NotAfter):
		return nil, refuse(codeValidation, msgValidity)
	}
	csr, err := parseCSR(in.Csr)
	if err != nil {
		return nil, refuse(codeMalformedCSR, msgCSR, err)
	}
	keyID := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	serial := make([]byte, 16)
	rand.Read(serial) // never fails
	serial[0] = serial[0]&0x7f | 0x40
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), RawSubject: csr.RawSubject, PublicKey: csr.PublicKey,
		NotBefore: now.Add(-backdated), NotAfter: notAfter, SignatureAlgorithm: algorithm,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: usages, BasicConstraintsValid: true, SubjectKeyId: keyID[:20],
	}
	for _, e := range csr.Extensions { // the other extensions come from the template
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: e.Id, Critical: len(csr.Subject.Names) == 0, Value: e.Value})
		}
	}
	return template, nil
}

// algorithm returns the algorithm with a name, which must be of the family of the
// key of the CA.
func (ca *privateCA) algorithm(name string) (x509.SignatureAlgorithm, error) {
	_, isRSA := ca.key.Public().(*rsa.PublicKey)
	var valid []string
	known, found := false, x509.UnknownSignatureAlgorithm
	for _, a := range signingAlgorithms {
		known = known || a.name == name
		if a.rsa != isRSA {
			continue
		}
		if valid = append(valid, a.name); a.name == name {
			found = a.algorithm
		}
	}
	switch {
	case !known:
		return 0, invalidMember("signingAlgorithm", "Member must satisfy enum value set")
	case found == x509.UnknownSignatureAlgorithm:
		return 0, refuse(codeInvalidArgs, msgAlgorithm, name, keyType(ca.cert), strings.Join(valid, ", "))
	}
	return found, nil
}

// keyType returns the type of the key of a certificate as the service names it.
func keyType(c *x509.Certificate) string {
	switch pub := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA_%d", pub.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("EC_%s", map[int]string{256: "prime256v1", 384: "secp384r1", 521: "secp521r1"}[pub.Params().BitSize])
	}
	return c.PublicKeyAlgorithm.String()
}

// end returns the end of a validity that begins now.
func (v validity) end(now time.Time) (end time.Time, err error) {
	const maxUnits = 36_500
	relative := v.Value >= 1 && v.Value <= maxUnits
	switch {
	case v.Type == "DAYS" && relative:
		end = now.AddDate(0, 0, int(v.Value))
	case v.Type == "MONTHS" && relative:
		end = now.AddDate(0, int(v.Value), 0)
	case v.Type == "YEARS" && relative:
		end = now.AddDate(int(v.Value), 0, 0)
	case v.Type == "ABSOLUTE" && v.Value > 0 && v.Value < 1<<40:
		end = time.Unix(v.Value, 0)
	case v.Type == "END_DATE":
		text := fmt.Sprint(v.Value)
		if len(text) == len(endDateLayout)-2 {
			text = "20" + text
		}
		if end, err = time.Parse(endDateLayout, text); err != nil {
			return end, invalidMember("validity", "Member is not a date")
		}
	default:
		return end, invalidMember("validity", "Member must be a positive number of one of the types END_DATE, ABSOLUTE, DAYS, MONTHS, YEARS")
	}
	if !end.After(now) {
		return end, refuse(codeValidation, msgValidityPast)
	}
	return end.UTC(), nil
}

// parseCSR parses a certificate request in PEM and verifies its signature.
func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if len(text) > maxCSR || block == nil || len(strings.TrimSpace(string(rest))) > 0 || !strings.HasSuffix(block.Type, "CERTIFICATE REQUEST") {
		return nil, fmt.Errorf("it is not one certificate request in PEM of at most %d bytes", maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch pub := csr.PublicKey.(type) {
	case *ecdsa.PublicKey:
	case *rsa.PublicKey:
		if pub.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("the RSA key has more than %d bits", maxRSABits)
		}
	default:
		return nil, fmt.Errorf("the key is neither an RSA nor an ECDSA key")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	if len(csr.Subject.Names) == 0 && len(csr.Extensions) == 0 {
		return nil, fmt.Errorf("it has neither a subject nor a subject alternative name")
	}
	return csr, nil
}

// getCertificate returns an issued certificate with its chain.
func (s *Server) getCertificate(q *rpcRequest) (any, error) {
	var in getCertificateInput
	if err := q.input(&in); err != nil {
		return nil, err
	}
	if err := s.authorize(q.caller, actionGetCertificate, in.CertificateAuthorityArn); err != nil {
		return nil, err
	}
	ca := s.ca
	if serial, ok := strings.CutPrefix(in.CertificateArn, ca.arn+"/certificate/"); !ok || !isWord(serial) {
		return nil, refuse(codeInvalidARN, msgInvalidARN, in.CertificateArn)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c, ok := ca.issued[in.CertificateArn]
	switch {
	case !ok:
		return nil, refuse(codeNotFound, msgNotFound, in.CertificateArn)
	case c.pending > 0:
		c.pending--
		return nil, refuse(codeInProgress, msgInProgress)
	}
	text := func(der []byte) string {
		return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	return &getCertificateOutput{text(c.der), text(ca.cert.Raw)}, nil
}

// invalidMember is the error about a parameter that violates the service model.
func invalidMember(name, constraint string) *refusal {
	return refuse(codeValidation, msgSTSConstraint, name, constraint)
}
