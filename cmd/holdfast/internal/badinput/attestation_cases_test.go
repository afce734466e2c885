//go:build linux

package badinput

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// evidenceParts are the evidence for the good key in a TPM, whose endorsement key
// the CA of the scene certifies. change, unless nil, changes the public area.
func evidenceParts(s *scene, change func(*tpm2.TPMTPublic)) attestation.Parts {
	s.Helper()
	pub, _ := s.key.Public().(*ecdsa.PublicKey)
	point, err := pub.Bytes()
	s.must(err)
	area := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull}, CurveID: tpm2.TPMECCNistP256, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull}}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}}),
	}
	if change != nil {
		change(&area)
	}
	return withEndorsement(s, attestation.Parts{PublicArea: tpm2.Marshal(area)}, "p384", nil)
}

// withEndorsement returns the evidence with another endorsement key and its
// certificate, which change can change.
func withEndorsement(s *scene, p attestation.Parts, kind string, change func(*x509.Certificate)) attestation.Parts {
	s.Helper()
	key := signertest.Key(s, kind)
	var err error
	p.EndorsementKey, err = x509.MarshalPKIXPublicKey(key.Public())
	s.must(err)
	p.EndorsementCertificate = s.ca.Issue(s, key, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "TPM"}
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		if change != nil {
			change(c)
		}
	}).Raw
	return p
}

func newEvidence(s *scene, p attestation.Parts) *attestation.Evidence {
	s.Helper()
	e, err := attestation.New(p)
	s.must(err)
	return e
}

// evidence writes evidence.json, which parts makes, and maker.pem.
func evidence(parts func(*scene) attestation.Parts) func(*scene) {
	return func(s *scene) {
		s.write("maker.pem", s.caPEM)
		s.write("evidence.json", newEvidence(s, parts(s)).Marshal())
	}
}

func goodParts(s *scene) attestation.Parts { return evidenceParts(s, nil) }

// area writes evidence with another public area.
func area(change func(*tpm2.TPMTPublic)) func(*scene) {
	return evidence(func(s *scene) attestation.Parts { return evidenceParts(s, change) })
}

// wrap writes the good certificate to wrapped.json, wrapped for the good key.
func wrap(s *scene) {
	w, err := newEvidence(s, goodParts(s)).Wrap(rand.Reader)
	s.must(err)
	data, err := w.Seal(s.certPEM)
	s.must(err)
	s.write("wrapped.json", data)
}

// replaced replaces a text in a file.
func replaced(name, old, text string) func(*scene) {
	return func(s *scene) {
		data, err := os.ReadFile(s.path(name))
		s.must(err)
		if !bytes.Contains(data, []byte(old)) {
			s.Fatalf("%s does not contain %s", name, old)
		}
		s.write(name, bytes.Replace(data, []byte(old), []byte(text), 1))
	}
}

// setField replaces a field of a file, which is base64.
func (s *scene) setField(name, field string, value []byte) {
	s.Helper()
	data, err := os.ReadFile(s.path(name))
	s.must(err)
	field += `": "`
	before, rest, found := bytes.Cut(data, []byte(field))
	_, after, ended := bytes.Cut(rest, []byte(`"`))
	if !found || !ended {
		s.Fatalf("%s has no field %s", name, field)
	}
	s.write(name, bytes.Join([][]byte{before, []byte(field), []byte(base64.StdEncoding.EncodeToString(value)), []byte(`"`), after}, nil))
}

// damages are what can stand where a file of package attestation should, beside other
// files: what is done, and a text in the error and one in the hint.
func damages(name string, again string) []struct {
	name, culprit, hint string
	change              func(*scene)
} {
	return []struct {
		name, culprit, hint string
		change              func(*scene)
	}{
		{"of a newer version", "newer version", "update Holdfast", replaced(name, `"version": 1`, `"version": 2`)},
		{"of version 0", "version 0", again, replaced(name, `"version": 1`, `"version": 0`)},
		{"with an unknown field", `unknown field "nonce"`, again, replaced(name, `"version": 1`, `"version": 1, "nonce": ""`)},
		{"without base64", name, again, replaced(name, `"endorsement_key": "M`, `"endorsement_key": "!`)},
		{"with another key", "SubjectPublicKeyInfo", again, replaced(name, `"endorsement_key": "M`, `"endorsement_key": "N`)},
	}
}

// attestationCases are those of attest, of ca issue --attestation and of install with
// a wrapped certificate. None of them uses a TPM.
func attestationCases(p *pki) (all []badInput) {
	for _, group := range []func(*pki) []badInput{attestCases, evidenceCases, trustCases, wrappedCases} {
		all = append(all, group(p)...)
	}
	for i := range all {
		all[i].bare = true
	}
	return all
}

// noTPM is a key in a TPM that is not there.
var noTPM = []string{"--private-key", "tpm:handle=0x81010002"}

func attestCases(p *pki) (all []badInput) {
	attest := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "attest: " + name, args: append([]string{"attest"}, args...), env: []string{"TPM_DEVICE=/nowhere/tpmrm0"}, setup: setup, code: code, culprit: culprit, hint: hint})
	}
	key := func(args ...string) []string { return append(noTPM[:2:2], args...) }
	attest("no key", front.ExitUsage, "--private-key", "app.pem", nil)
	attest("an argument", front.ExitUsage, "app.pem", "attest --help", nil, "app.pem")
	attest("an unknown endorsement key", front.ExitUsage, "rsa3072", "attest --help", nil, key("--ek-type", "rsa3072")...)
	attest("a handle as the endorsement key", front.ExitUsage, "0x81010001", "attest --help", nil, key("--ek-type", "0x81010001")...)
	attest("key missing", front.ExitNotFound, "none.pem", "name", nil, "--private-key", "none.pem")
	attest("a software key", front.ExitUnavailable, "key.pem", "tpm:path=", nil, "--private-key", "key.pem")
	attest("a certificate", front.ExitUnavailable, "cert.pem", "tpm:path=", nil, "--private-key", "cert.pem")
	attest("the text of a key", front.ExitUsage, "PEM", "file", nil, "--private-key", string(p.keyPEM))
	attest("an unknown scheme", front.ExitUsage, "nosuch", "", nil, "--private-key", "nosuch:x")
	attest("a software key as that of the TPM", front.ExitNotFound, "key.pem", "TSS2 PRIVATE KEY", nil, "--private-key", "tpm:path=key.pem")
	attest("an unknown attribute", front.ExitUsage, "ek", "", nil, "--private-key", "tpm:handle=0x81010002;ek=1")
	attest("a password in the reference", front.ExitUsage, "endorsement-auth-source", "docs/references.md", nil, "--private-key", "tpm:handle=0x81010002;endorsement-auth="+testPassword)
	attest("no TPM", front.ExitUnavailable, "/nowhere/tpmrm0", "TPM", nil, key()...)
	attest("into a folder", front.ExitOther, "dir", "", func(s *scene) { s.must(os.Mkdir(s.path("dir"), 0o700)) }, key("--out", "dir")...)
	attest("into a missing folder", front.ExitNotFound, "no/evidence.json", "name", nil, key("--out", "no/evidence.json")...)
	attest("over a key", front.ExitOther, "key.pem", "another file", nil, key("--out", "key.pem")...)
	attest("over a text", front.ExitOther, "diary", "another file", write("diary", []byte("dear diary")), key("--out", "diary")...)
	attest("over a wrapped certificate", front.ExitOther, "wrapped.json", "another file", wrap, key("--out", "wrapped.json")...)
	return all
}

// evidenceCases are files that ca issue refuses.
func evidenceCases(p *pki) (all []badInput) {
	line := []string{"ca", "issue", "--attestation", "evidence.json", "--ek-roots", "maker.pem", "--subject", "CN=app"}
	add := func(name string, code int, culprit, hint string, change func(*scene), more ...string) {
		all = append(all, badInput{name: "ca issue --attestation: " + name, args: append(line[:len(line):len(line)], more...), setup: steps(authorityFolder, evidence(goodParts), change), code: code, culprit: culprit, hint: hint})
	}
	again := "holdfast attest"
	add("no evidence", front.ExitNotFound, "evidence.json", "name", remove("evidence.json"))
	add("an empty file", front.ExitOther, "evidence.json", again, write("evidence.json"))
	add("text", front.ExitOther, "evidence.json", again, write("evidence.json", []byte("it is in a TPM")))
	add("a certificate", front.ExitOther, "evidence.json", again, write("evidence.json", p.certPEM))
	add("a folder", front.ExitOther, "evidence.json", "", steps(remove("evidence.json"), func(s *scene) { s.must(os.Mkdir(s.path("evidence.json"), 0o700)) }))
	add("a FIFO", front.ExitOther, "evidence.json", "", steps(remove("evidence.json"), func(s *scene) { s.must(syscall.Mkfifo(s.path("evidence.json"), 0o600)) }))
	add("3 GiB", front.ExitOther, "evidence.json", "", func(s *scene) { s.must(os.Truncate(s.path("evidence.json"), 3<<30)) })
	add("a large file", front.ExitOther, "64 KiB", again, func(s *scene) { s.must(os.Truncate(s.path("evidence.json"), 100<<10)) })
	add("half a file", front.ExitOther, "evidence.json", again, func(s *scene) { s.must(os.Truncate(s.path("evidence.json"), 300)) })
	add("a wrapped certificate", front.ExitOther, "it is a wrapped certificate", again, steps(wrap, func(s *scene) { s.must(os.Rename(s.path("wrapped.json"), s.path("evidence.json"))) }))
	add("claims of a token", front.ExitOther, "only claims of a token", "tpm:path=", func(s *scene) {
		claims, err := attestation.Claims{Device: "token", Key: s.key.Public()}.Marshal()
		s.must(err)
		s.write("evidence.json", claims)
	})
	for _, d := range damages("evidence.json", again) {
		add(d.name, front.ExitOther, d.culprit, d.hint, d.change)
	}
	add("a number for a key", front.ExitOther, `the field "public_area"`, again, replaced("evidence.json", `"public_area": "`, `"public_area": 7, "x": "`))
	add("no public area", front.ExitOther, "public area", again, replaced("evidence.json", `"public_area": "A`, `"public_area": "B`))
	add("given twice", front.ExitUsage, "--attestation is given twice", "one certificate after the other", unchanged, "--attestation", "evidence.json")
	fromStdin := func(name string, code int, culprit, hint string, more ...string) {
		args := slices.Concat([]string{"ca", "issue", "--attestation", "-", "--ek-roots", "maker.pem", "--subject", "CN=app"}, more)
		all = append(all, badInput{name: "ca issue --attestation: " + name, args: args, setup: steps(authorityFolder, evidence(goodParts)), code: code, culprit: culprit, hint: hint})
	}
	fromStdin("empty on standard input", front.ExitOther, "it is not evidence of a TPM", again)
	fromStdin("standard input twice", front.ExitUsage, "only one of --csr, --attestation and --ek-roots", "write the others to files", "--csr", "-")

	movable := func(a *tpm2.TPMTPublic) { a.ObjectAttributes.FixedParent = false }
	add("a key that can be duplicated", front.ExitOther, "fixedParent", "tpm:path=", area(movable))
	add("a key below one that can be duplicated", front.ExitOther, "fixedTPM", "tpm:path=", area(func(a *tpm2.TPMTPublic) { a.ObjectAttributes.FixedTPM = false }))
	add("an imported key", front.ExitOther, "sensitiveDataOrigin", "tpm:path=", area(func(a *tpm2.TPMTPublic) { a.ObjectAttributes.SensitiveDataOrigin = false }))
	add("a software key", front.ExitOther, "like a software key", "tpm:path=", area(func(a *tpm2.TPMTPublic) { a.ObjectAttributes = tpm2.TPMAObject{SignEncrypt: true} }))
	add("a SHA-1 name", front.ExitUnavailable, "SHA-256", "tpm:path=", area(func(a *tpm2.TPMTPublic) { a.NameAlg = tpm2.TPMAlgSHA1 }))
	add("a key that needs a policy to be activated", front.ExitUnavailable, "adminWithPolicy", "tpm:path=", area(func(a *tpm2.TPMTPublic) { a.ObjectAttributes.AdminWithPolicy = true }))
	for _, kind := range []string{"p521", "rsa3072"} {
		add("an endorsement key "+kind, front.ExitUnavailable, "RSA-2048, P-256 or P-384", "another endorsement key", evidence(func(s *scene) attestation.Parts { return withEndorsement(s, goodParts(s), kind, nil) }))
	}

	csr := []string{"--csr", "app.csr"}
	add("the request is missing", front.ExitNotFound, "none.csr", "name", unchanged, "--csr", "none.csr")
	add("the request is for another key", front.ExitOther, "another key", "leave out --csr", func(s *scene) { s.write("app.csr", requestPEM(s, signertest.NewKey(s, "p256"), nil)) }, csr...)
	add("the request is the evidence", front.ExitOther, "evidence.json: is not a certificate request", "--attestation", unchanged, "--csr", "evidence.json")
	add("no names", front.ExitUsage, "evidence contains no names", "--subject CN=app", unchanged, "--subject=")
	add("the names of no request", front.ExitUsage, "--accept-csr-names", "--subject CN=app", unchanged, "--subject=", "--accept-csr-names")
	add("a server without a name", front.ExitUsage, "server certificate", "--dns", unchanged, "--profile", "server")
	add("into the folder of the CA", front.ExitUsage, "ca/wrapped.json", "another folder", unchanged, "--out", "ca/wrapped.json")
	add("over the evidence", front.ExitOther, "evidence.json", "another file", unchanged, "--out", "evidence.json")
	add("over a certificate", front.ExitOther, "cert.pem", "another file", unchanged, "--out", "cert.pem")
	add("over one for another key", front.ExitOther, "wrapped.json", "another file", steps(wrap, area(func(a *tpm2.TPMTPublic) {
		a.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, otherPoint())
	})), "--out", "wrapped.json")
	return all
}

// otherPoint is the base point of P-256 (SP 800-186, section 3.2.1.3).
func otherPoint() *tpm2.TPMSECCPoint {
	params := elliptic.P256().Params()
	return &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: params.Gx.Bytes()}, Y: tpm2.TPM2BECCParameter{Buffer: params.Gy.Bytes()}}
}

// trustCases are TPMs and policies that ca issue refuses, and flags that say which it
// accepts.
func trustCases(*pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, change func(*scene), args ...string) {
		all = append(all, badInput{name: "ca issue: " + name, args: append([]string{"ca", "issue", "--subject", "CN=app"}, args...), setup: steps(authorityFolder, evidence(goodParts), change), code: code, culprit: culprit, hint: hint})
	}
	given := []string{"--attestation", "evidence.json"}
	with := func(args ...string) []string { return append(given[:2:2], args...) }
	add("no trust", front.ExitUsage, "--ek-roots or --ek-allow", "docs/attestation.md", unchanged, given...)
	add("only a policy", front.ExitUsage, "--ek-roots or --ek-allow", "docs/attestation.md", unchanged, with("--require-policy", "pcr=sha256:7="+strings.Repeat("0", 64))...)
	for flag, value := range map[string]string{"--ek-roots": "maker.pem", "--ek-allow": strings.Repeat("0", 64), "--require-policy": "pcr=sha256:7=" + strings.Repeat("0", 64)} {
		add(flag+" without evidence", front.ExitUsage, flag, "--attestation", unchanged, "--csr", "app.csr", flag, value)
	}
	add("evidence and a renewal", front.ExitUsage, "--attestation", "of the certificate that is renewed", unchanged, "--attestation", "evidence.json", "--ek-roots", "maker.pem", "--renew", "app.p7", "--subject=")

	roots := with("--ek-roots", "maker.pem")
	const wanted = "not that of the TPM"
	add("roots missing", front.ExitNotFound, "none.pem", "name", unchanged, with("--ek-roots", "none.pem")...)
	add("roots empty", front.ExitOther, "maker.pem", "PEM", write("maker.pem"), roots...)
	add("roots are text", front.ExitOther, "maker.pem", "PEM", write("maker.pem", []byte("trust all")), roots...)
	add("roots are a key", front.ExitNotFound, "key.pem", "certificate", unchanged, with("--ek-roots", "key.pem")...)
	add("roots are a machine", front.ExitOther, "CN=client", wanted, unchanged, with("--ek-roots", "cert.pem")...)
	add("roots are evidence", front.ExitOther, "evidence.json", "holdfast ca issue", unchanged, with("--ek-roots", "evidence.json")...)
	add("another maker", front.ExitOther, "CN=root", "--ek-roots", func(s *scene) { s.write("maker.pem", signertest.CertPEM(signertest.NewCA(s, "other").Cert)) }, roots...)
	endorsement := func(change func(*x509.Certificate)) func(*scene) {
		return evidence(func(s *scene) attestation.Parts { return withEndorsement(s, goodParts(s), "p256", change) })
	}
	add("TPM without a certificate", front.ExitOther, "no certificate", "--ek-allow", evidence(func(s *scene) attestation.Parts {
		p := goodParts(s)
		p.EndorsementCertificate = nil
		return p
	}), roots...)
	add("certificate expired", front.ExitOther, "expired", "--ek-allow", endorsement(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), roots...)
	add("certificate of a machine", front.ExitOther, "2.23.133.8.1", "--ek-allow", endorsement(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), roots...)
	add("critical extension", front.ExitOther, "critical", "--ek-allow", endorsement(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	}), roots...)

	allow := func(value string) []string { return with("--ek-allow", value) }
	hash := "give the hash"
	add("another TPM", front.ExitOther, "not among those allowed", "--ek-allow", unchanged, allow(strings.Repeat("0", 64))...)
	add("a short hash", front.ExitNotFound, "00ff", hash, unchanged, allow("00ff")...)
	add("a hash with a wrong digit", front.ExitNotFound, "SHA-256", hash, unchanged, allow("sha256:"+strings.Repeat("g", 64))...)
	add("no hash", front.ExitUsage, "--ek-allow is an empty text", "check the variable", unchanged, allow("")...)
	add("a SHA-1 hash", front.ExitNotFound, "SHA-256", hash, unchanged, allow("sha1:"+strings.Repeat("0", 40))...)
	add("an empty list of hashes", front.ExitOther, "allowed", hash, write("allowed"), allow("allowed")...)
	add("a list of comments", front.ExitOther, "allowed", hash, write("allowed", []byte("# none\n\n")), allow("allowed")...)
	add("a list with another line", front.ExitOther, "line 3", hash, write("allowed", []byte("# TPMs\n"+strings.Repeat("0", 64)+" # one\nall\n")), allow("allowed")...)
	add("a list that is a folder", front.ExitOther, "list", hash, func(s *scene) { s.must(os.Mkdir(s.path("list"), 0o700)) }, allow("list")...)
	add("a list that is a FIFO", front.ExitOther, "list", hash, func(s *scene) { s.must(syscall.Mkfifo(s.path("list"), 0o600)) }, allow("list")...)
	add("an endless list", front.ExitOther, "/dev/zero", hash, unchanged, allow("/dev/zero")...)
	add("a list of 3 GiB", front.ExitOther, "list", hash, steps(write("list"), func(s *scene) { s.must(os.Truncate(s.path("list"), 3<<30)) }), allow("list")...)
	add("evidence as the list", front.ExitOther, "evidence.json: line 1", hash, unchanged, allow("evidence.json")...)

	policy := func(value string) []string { return append(roots[:4:4], "--require-policy", value) }
	const value = "7b" + "00000000000000000000000000000000000000000000000000000000000000"
	add("no policy", front.ExitUsage, "--require-policy is an empty text", "check the variable", unchanged, policy("")...)
	add("a policy and none", front.ExitUsage, "--require-policy is an empty text", "check the variable", unchanged, append(policy("pcr=sha256:7="+strings.Repeat("0", 64)), "--require-policy=")...)
	add("a policy of a TPM reference", front.ExitUsage, "sha256:7", "tpm2_pcrread", unchanged, policy("sha256:7")...)
	add("a policy without a value", front.ExitUsage, "pcr=sha256:7", "tpm2_pcrread", unchanged, policy("pcr=sha256:7")...)
	add("a policy with a short value", front.ExitUsage, "PCR 7 has 62 hexadecimal digits", "tpm2_pcrread", unchanged, policy("pcr=sha256:7="+value[2:])...)
	add("a policy with an unknown bank", front.ExitUsage, "md5", "tpm2_pcrread", unchanged, policy("pcr=md5:7="+value)...)
	add("a policy with PCR 24", front.ExitUsage, "sha256:24", "tpm2_pcrread", unchanged, policy("pcr=sha256:24="+value)...)
	add("a key without the policy", front.ExitOther, "it has none", "pcrs=sha256:7", unchanged, policy("pcr=sha256:7="+value)...)
	bound := func(userAuth bool) func(*scene) {
		return area(func(a *tpm2.TPMTPublic) {
			a.AuthPolicy.Buffer, a.ObjectAttributes.UserWithAuth = make([]byte, 32), userAuth
		})
	}
	add("a key with another policy", front.ExitOther, "sha256:7="+value, "tpm2_pcrread", bound(false), policy("pcr=sha256:7="+value)...)
	add("a key that needs no policy", front.ExitOther, "userWithAuth", "pcrs=sha256:7", bound(true), policy("pcr=sha256:7="+value)...)
	return all
}

// wrappedCases are wrapped certificates that install refuses, without a TPM.
func wrappedCases(p *pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, change func(*scene), args ...string) {
		line := append([]string{"install", "--certificate", "wrapped.json", "--to", "to.pem"}, noTPM...)
		all = append(all, badInput{name: "install wrapped: " + name, args: append(line, args...), env: []string{"TPM_DEVICE=/nowhere/tpmrm0"}, setup: steps(wrap, change), code: code, culprit: culprit, hint: hint})
	}
	const again = "from the CA"
	add("a software key", front.ExitUnavailable, "key.pem", "tpm:path=", unchanged, "--private-key", "key.pem")
	add("a key of standard input", front.ExitUnavailable, "env:KEY", "tpm:path=", unchanged, "--private-key", "env:KEY")
	all[len(all)-1].env = append(all[len(all)-1].env, "KEY="+string(p.keyPEM))
	add("no TPM", front.ExitUnavailable, "/nowhere/tpmrm0", "TPM", unchanged)
	for _, d := range damages("wrapped.json", again) {
		add(d.name, front.ExitOther, d.culprit, d.hint, d.change)
	}
	add("half a file", front.ExitOther, "wrapped.json", again, func(s *scene) { s.must(os.Truncate(s.path("wrapped.json"), 300)) })
	add("a large file", front.ExitOther, "64 KiB", again, func(s *scene) { s.must(os.Truncate(s.path("wrapped.json"), 100<<10)) })
	add("evidence", front.ExitOther, "evidence.json: the file cannot be used: it is evidence of a TPM", again, evidence(goodParts), "--certificate", "evidence.json")
	add("an unknown type of endorsement key", front.ExitUnavailable, "endorsement key", "", func(s *scene) {
		spki, err := x509.MarshalPKIXPublicKey(signertest.Key(s, "p521").Public())
		s.must(err)
		s.setField("wrapped.json", "endorsement_key", spki)
	})
	add("a large credential", front.ExitOther, "wrapped.json", again, func(s *scene) { s.setField("wrapped.json", "credential_blob", make([]byte, 2<<10)) })
	add("a large secret", front.ExitOther, "wrapped.json", again, func(s *scene) { s.setField("wrapped.json", "encrypted_secret", make([]byte, 2<<10)) })
	add("as an issuer, for a software key", front.ExitUnavailable, "key.pem", "tpm:path=", unchanged, "--certificate", "cert.pem", "--private-key", "key.pem", "--intermediates", "wrapped.json")
	return all
}
