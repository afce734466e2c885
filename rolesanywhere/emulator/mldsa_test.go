package emulator

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/mldsa"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var mldsaSets = []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()}

// An opensslCA has certificates and keys in a folder, which are valid at testNow.
type opensslCA struct {
	testing.TB
	openssl, dir string
}

// newOpenSSLCA returns a CA whose certificate has the name Root.
func newOpenSSLCA(t testing.TB, set mldsa.Parameters) opensslCA {
	t.Helper()
	ca := opensslCA{t, signertest.OpenSSL35(t), t.TempDir()}
	ca.key("Root", set)
	ca.run("req", "-x509", "-new", "-config", "", "-key", "Root.key", "-out", "Root.pem", "-subj", "/CN=Root", "-not_before", "20310101000000Z", "-not_after", "20310401000000Z",
		"-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	return ca
}

func (ca opensslCA) run(args ...string) {
	ca.Helper()
	cmd := exec.Command(ca.openssl, args...)
	cmd.Dir = ca.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		ca.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (ca opensslCA) key(name string, set mldsa.Parameters) {
	ca.Helper()
	ca.run("genpkey", "-algorithm", set.String(), "-provparam", "ml-dsa.output_formats=seed-only", "-out", name+".key")
}

// certify issues a certificate to the key with a name; usage has the basic constraints
// and the key usage.
func (ca opensslCA) certify(issuer, name string, usage ...string) *x509.Certificate {
	ca.Helper()
	ca.run("req", "-x509", "-new", "-config", "", "-CA", issuer+".pem", "-CAkey", issuer+".key", "-key", name+".key", "-out", name+".pem",
		"-subj", "/O=Example/CN="+name, "-not_before", "20310201000000Z", "-not_after", "20310301000000Z",
		"-addext", "basicConstraints=critical,"+usage[0], "-addext", "keyUsage=critical,"+usage[1])
	return parse(ca, ca.block(name+".pem"))
}

func (ca opensslCA) leaf(issuer, name string, set mldsa.Parameters) (*x509.Certificate, *mldsa.PrivateKey) {
	ca.Helper()
	ca.key(name, set)
	return ca.certify(issuer, name, "CA:FALSE", "digitalSignature"), ca.private(name, set)
}

func (ca opensslCA) read(name string) []byte {
	ca.Helper()
	data, err := os.ReadFile(filepath.Join(ca.dir, name))
	if err != nil {
		ca.Fatal(err)
	}
	return data
}

func (ca opensslCA) block(name string) []byte {
	ca.Helper()
	block, _ := pem.Decode(ca.read(name))
	return block.Bytes
}

func (ca opensslCA) private(name string, set mldsa.Parameters) *mldsa.PrivateKey {
	ca.Helper()
	var pkcs8 struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
	}
	_, err := asn1.Unmarshal(ca.block(name+".key"), &pkcs8)
	if err != nil {
		ca.Fatal(err)
	}
	key, err := mldsa.NewPrivateKey(set, pkcs8.Key[2:]) // after the tag and the length
	if err != nil {
		ca.Fatal(err)
	}
	return key
}

// crl revokes certificates, and returns the CRL of an issuer in PEM.
func (ca opensslCA) crl(issuer string, revoked ...string) []byte {
	ca.Helper()
	for name, text := range map[string]string{
		"index.txt": "", "crlnumber": "01\n", "ca.cnf": "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = null\n",
	} {
		if err := os.WriteFile(filepath.Join(ca.dir, name), []byte(text), 0o600); err != nil {
			ca.Fatal(err)
		}
	}
	command := []string{"ca", "-config", "ca.cnf", "-cert", issuer + ".pem", "-keyfile", issuer + ".key"}
	for _, name := range revoked {
		ca.run(append(command, "-revoke", name+".pem")...)
	}
	ca.run(append(command, "-gencrl", "-crl_lastupdate", "20310203000000Z", "-crl_nextupdate", "20310204000000Z", "-out", "list.pem")...)
	return ca.read("list.pem")
}

// A signingFunc is a key that signs messages with a function.
type signingFunc struct {
	crypto.Signer
	sign func(message []byte) ([]byte, error)
}

func (k signingFunc) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sign(message)
}

func TestMLDSASession(t *testing.T) {
	for i, set := range mldsaSets {
		t.Run(set.String(), func(t *testing.T) {
			other := mldsaSets[(i+1)%len(mldsaSets)]
			ca := newOpenSSLCA(t, other)
			ca.key("Intermediate", set)
			between := []*x509.Certificate{ca.certify("Root", "Intermediate", "CA:TRUE", "keyCertSign,cRLSign")}
			cert, key := ca.leaf("Intermediate", "client", set)
			w := &testEnv{client: certKey{cert, key}}
			w.start(t, Config{TrustAnchors: []TrustAnchor{{Certificates: ca.read("Root.pem")}}})
			chain := append([]*x509.Certificate{cert}, between...)
			_, otherKey := ca.leaf("Root", "other", other)
			digest := sha512.Sum512(nil)
			mismatch := msgMalformed[:strings.Index(msgMalformed, "%")]
			for _, tt := range []struct {
				name    string
				sign    func(message []byte) ([]byte, error) // nil: as the key does
				after   func(*http.Request)
				message string // how it begins; "": a session
			}{
				{"hedged", nil, nil, ""},
				{"deterministic", func(m []byte) ([]byte, error) { return key.SignDeterministic(m, nil) }, nil, ""},
				{"context", func(m []byte) ([]byte, error) { return key.Sign(nil, m, &mldsa.Options{Context: "x"}) }, nil, msgInvalidSignature},
				{"digest", func([]byte) ([]byte, error) { return key.Sign(nil, digest[:], nil) }, nil, msgInvalidSignature},
				{"another key", func(m []byte) ([]byte, error) { return otherKey.Sign(nil, m, nil) }, nil, msgInvalidSignature},
				{"truncated", func(m []byte) ([]byte, error) {
					b, err := key.Sign(nil, m, nil)
					return b[:len(b)-1], err
				}, nil, msgInvalidSignature},
				{"named ECDSA", nil, replaceAuthorization("AWS4-X509-MLDSA", "AWS4-X509-ECDSA-SHA256"), mismatch},
				{"named RSA", nil, replaceAuthorization("AWS4-X509-MLDSA", "AWS4-X509-RSA-SHA256"), mismatch},
			} {
				c := call{chain: chain, after: tt.after}
				if tt.sign != nil {
					c.key = signingFunc{key, tt.sign}
				}
				a := w.do(t, c)
				switch {
				case tt.message == "":
					a.session(t)
				case a.status != http.StatusForbidden || a.code != codeAccessDenied || !strings.HasPrefix(a.message, tt.message):
					t.Errorf("%s: response is %d %s %q", tt.name, a.status, a.code, a.message)
				}
			}
			w.do(t, call{chain: chain, key: key, after: replaceAuthorization("AWS4-X509-MLDSA", "AWS4-X509-RSA-SHA256")})
			if data := w.lastEvent(t).object("additionalEventData"); data.string("algorithmKeyMismatch") != "AWS4-X509-RSA-SHA256" {
				t.Errorf("additional data is %v", data)
			}
			if a := w.do(t, call{}); a.message != msgUntrusted {
				t.Errorf("without the intermediate certificate: %d %s", a.status, a.message)
			}
		})
	}
}

// One kind of key issues certificates to the other kind.
func TestMLDSAMixedPaths(t *testing.T) {
	ca := newOpenSSLCA(t, mldsa.MLDSA65())
	ecKeys := certKey{nil, ecKey(t, elliptic.P256())}
	ca.run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ECDSA.key")
	ecCert := ca.certify("Root", "ECDSA", "CA:FALSE", "digitalSignature")
	private, err := x509.ParsePKCS8PrivateKey(ca.block("ECDSA.key"))
	if err != nil {
		t.Fatal(err)
	}
	template := caTemplate("ECDSA Root")
	ecKeys.cert = certify(t, template, template, ecKeys.key.Public(), ecKeys.key)
	der, err := x509.MarshalPKCS8PrivateKey(ecKeys.key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, ca.dir, "EC Root.pem", ecKeys.pem())
	write(t, ca.dir, "EC Root.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	cert, key := ca.leaf("EC Root", "client", mldsa.MLDSA87())
	for _, tt := range []struct {
		anchor []byte
		client certKey
		name   string // of the algorithm
	}{
		{ca.read("Root.pem"), certKey{ecCert, private.(crypto.Signer)}, sigv4x509.ECDSA},
		{ecKeys.pem(), certKey{cert, key}, sigv4x509.MLDSA},
		{append(ca.read("Root.pem"), ecKeys.pem()...), certKey{cert, key}, sigv4x509.MLDSA},
	} {
		w := &testEnv{client: tt.client}
		w.start(t, Config{TrustAnchors: []TrustAnchor{{Certificates: tt.anchor}}})
		w.do(t, call{after: func(r *http.Request) {
			if !strings.HasPrefix(r.Header.Get("Authorization"), tt.name+" ") {
				t.Errorf("the request is not signed with %s", tt.name)
			}
		}}).session(t)
	}
}

// The control plane takes the certificate of an ML-DSA CA and its CRL, and subjects,
// events and sessions have what is in such a certificate.
func TestMLDSAControlPlane(t *testing.T) {
	ca := newOpenSSLCA(t, mldsa.MLDSA87())
	cert, key := ca.leaf("Root", "client", mldsa.MLDSA44())
	revokedCert, revokedKey := ca.leaf("Root", "revoked", mldsa.MLDSA44())
	w := &testEnv{client: certKey{cert, key}}
	w.startEmpty(t, Config{Roles: []Role{{}}})
	anchor := w.must(t, "CreateTrustAnchor", "", anchorInput(ca.read("Root.pem"))).object("trustAnchor").string("trustAnchorArn")
	profile := w.must(t, "CreateProfile", "", profileInputOf()).object("profile").string("profileArn")
	in := body("trustAnchorArn", anchor, "profileArn", profile)

	session := w.do(t, call{body: in}).session(t)
	serial := trustpolicy.SerialNumber(cert)
	if name := session.AssumedRoleUser.ARN; !strings.HasSuffix(name, "/"+serial) {
		t.Errorf("the session is %s, and the serial number %s", name, serial)
	}
	if session.SourceIdentity != "CN=client" {
		t.Errorf("the source identity is %q", session.SourceIdentity)
	}
	tags := object(nil)
	for _, e := range w.lookup(t, "{}").Events {
		var event object
		if err := json.Unmarshal([]byte(e.CloudTrailEvent), &event); err != nil {
			t.Fatal(err)
		}
		p := event.object("requestParameters")
		switch {
		case e.EventName == actionAssumeRole:
			tags = p.object("principalTags")
		case e.EventName == "CreateSession" &&
			(p.string("serialNumber") != serial || p.string("subject") != "CN=client,O=Example" || p.string("issuer") != "CN=Root"):
			t.Errorf("the event has the parameters %v", p)
		}
	}
	if tags.string("x509Subject/CN") != "client" || tags.string("x509Subject/O") != "Example" || tags.string("x509Issuer/CN") != "Root" {
		t.Errorf("the tags are %v", tags)
	}
	subject := w.subject(t, 0)
	if len(subject.Credentials) != 1 || subject.Credentials[0].SerialNumber != serial || subject.Credentials[0].Certificate != string(certKey{cert, nil}.pem()) {
		t.Errorf("the subject is %+v", subject)
	}

	for _, list := range [][]byte{ca.crl("Root"), ca.crl("Root", "revoked")} {
		w.must(t, "ImportCrl", "", object{"name": "list", "enabled": true, "crlData": list, "trustAnchorArn": anchor})
	}
	w.do(t, call{body: in}).session(t)
	checkRefused(t, w.do(t, call{body: in, chain: []*x509.Certificate{revokedCert}, key: revokedKey}), http.StatusForbidden, codeAccessDenied,
		fmt.Sprintf(msgRevoked, trustpolicy.SerialNumber(revokedCert), revokedCert.Issuer))
}

// A list that another key signed, or that was altered, revokes nothing.
func TestMLDSAForgedCRL(t *testing.T) {
	ca, impostor := newOpenSSLCA(t, mldsa.MLDSA65()), newOpenSSLCA(t, mldsa.MLDSA65())
	cert, key := ca.leaf("Root", "client", mldsa.MLDSA65())
	write(t, impostor.dir, "client.pem", ca.read("client.pem"))
	block, _ := pem.Decode(ca.crl("Root", "client"))
	genuine := block.Bytes
	altered := slices.Clone(genuine)
	altered[len(altered)-1] ^= 1
	for _, tt := range []struct {
		name    string
		list    []byte
		revokes bool
	}{{"genuine", genuine, true}, {"altered", altered, false}, {"of another key", impostor.crl("Root", "client"), false}} {
		w := &testEnv{client: certKey{cert, key}}
		w.start(t, Config{TrustAnchors: []TrustAnchor{{Certificates: ca.read("Root.pem"), CRLs: [][]byte{tt.list}}}})
		if a := w.do(t, call{}); (a.status == http.StatusForbidden) != tt.revokes {
			t.Errorf("%s: response is %d %s", tt.name, a.status, a.message)
		}
	}
}

// The private CA of the emulator has no ML-DSA keys, and says so.
func TestMLDSAPrivateCA(t *testing.T) {
	ca := newOpenSSLCA(t, mldsa.MLDSA44())
	_, err := New(Config{TrustAnchors: []TrustAnchor{{Certificates: ca.read("Root.pem")}}, PrivateCA: PrivateCA{KeyFile: filepath.Join(ca.dir, "Root.key")}})
	if err == nil || !strings.Contains(err.Error(), "does not support ML-DSA keys") {
		t.Errorf("error %v", err)
	}
	w, c := newPrivateCA(t, nil)
	ca.run("req", "-new", "-config", "", "-key", "Root.key", "-subj", "/CN=app", "-out", "app.csr")
	out := w.pca(t, c, actionIssueCertificate, input(ca.read("app.csr")), stsCall{})
	if out.Type != codeMalformedCSR || !strings.Contains(out.Message, "neither an RSA nor an ECDSA key") {
		t.Errorf("%+v", out)
	}
}
