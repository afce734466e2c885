package issuing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A wrappingCA is a folder with a CA, evidence for the key of app.csr, and the flags
// with which the CA accepts it.
type wrappingCA struct {
	*testing.T
	dir   string
	flags []string
}

func newWrappingCA(t *testing.T) wrappingCA {
	t.Helper()
	w := wrappingCA{T: t, dir: newCA(t)}
	block, _ := pem.Decode(w.read("app.csr"))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	e := w.evidence(csr.PublicKey.(*ecdsa.PublicKey))
	w.flags = []string{"--attestation", "evidence.json", "--ek-allow", e.EndorsementHash()}
	return w
}

// evidence writes evidence.json, which says that a key is in a TPM.
func (w wrappingCA) evidence(key *ecdsa.PublicKey) *attestation.Evidence {
	w.Helper()
	point, err := key.Bytes()
	if err != nil {
		w.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(signertest.Key(w, "p256").Public())
	if err != nil {
		w.Fatal(err)
	}
	e, err := attestation.New(attestation.Parts{EndorsementKey: spki, PublicArea: tpm2.Marshal(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull}, CurveID: tpm2.TPMECCNistP256, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull}}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}}),
	})})
	if err != nil {
		w.Fatal(err)
	}
	w.write("evidence.json", e.Marshal())
	return e
}

func (w wrappingCA) read(name string) []byte {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.Fatal(err)
	}
	return data
}

func (w wrappingCA) write(name string, data []byte) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
		w.Fatal(err)
	}
}

// issue runs ca issue, with its standard output in a file of the operating system.
func (w wrappingCA) issue(stdout *os.File, args ...string) (stderr string, err error) {
	w.Helper()
	cmd := exec.Command("holdfast", append(append([]string{"ca", "issue"}, w.flags...), args...)...)
	cmd.Dir = w.dir
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &text
	err = cmd.Run()
	return text.String(), err
}

// newest returns the certificate that the CA issued last.
func (w wrappingCA) newest() (serial string, c *x509.Certificate) {
	w.Helper()
	var list []struct{ Serial string }
	if err := json.Unmarshal([]byte(mustRun(w.T, w.dir, "ca", "list", "--json")), &list); err != nil || len(list) == 0 {
		w.Fatalf("%v, %v", list, err)
	}
	serial = list[len(list)-1].Serial
	block, _ := pem.Decode(w.read("ca/certificates/" + serial + ".pem"))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	return serial, c
}

// contains reports whether data contains the signature of a certificate, in DER, in
// hexadecimal or in base64, with or without line ends, also base64 of base64.
func contains(data []byte, c *x509.Certificate) bool {
	signature := c.Raw[len(c.Raw)-48:]
	if bytes.Contains(data, signature) {
		return true
	}
	data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte(`\n`), nil), []byte("\n"), nil)
	parts := [][]byte{signature[:24]}
	for range 2 {
		for _, part := range parts {
			parts = append(parts, []byte(hex.EncodeToString(part)))
			for offset := range 3 {
				n := (len(part) - offset) / 3 * 3 // so that the digits do not depend on what follows
				parts = append(parts, []byte(base64.StdEncoding.EncodeToString(part[offset:offset+n])))
			}
		}
	}
	for _, part := range parts {
		if bytes.Contains(bytes.ToLower(data), bytes.ToLower(part)) {
			return true
		}
	}
	return false
}

// The test itself finds a certificate that is not encrypted.
func TestContains(t *testing.T) {
	c := signertest.NewCA(t, "root").Cert
	text := signertest.CertPEM(c)
	quoted, err := json.Marshal(map[string]string{"certificate": string(text)})
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range [][]byte{
		c.Raw, text, quoted, []byte(hex.EncodeToString(c.Raw)), []byte(strings.ToUpper(hex.EncodeToString(c.Raw))),
		[]byte(base64.StdEncoding.EncodeToString(c.Raw)), []byte(base64.StdEncoding.EncodeToString(c.Raw[1:])), []byte(base64.StdEncoding.EncodeToString(c.Raw[2:])),
		[]byte(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString(c.Raw)))),
	} {
		if !contains(data, c) {
			t.Errorf("form %d is not found", i)
		}
	}
	if contains(signertest.CertPEM(signertest.NewCA(t, "root").Cert), c) {
		t.Error("another certificate is taken for it")
	}
}

// In no form of the output is the certificate of a key in a TPM in plain text: nobody
// but the TPM gets it.
func TestWrappedOutput(t *testing.T) {
	w := newWrappingCA(t)
	names := []string{"--subject", "CN=app"}
	for _, test := range []struct {
		name string
		args []string
		out  bool // it goes to out.json
	}{
		{"text", names, false},
		{"JSON", append(names, "--json"), false},
		{"file", append(names, "--out", "out.json"), true},
		{"file again", append(names, "--out", "out.json"), true},
		{"file and JSON", append(names, "--out", "out.json", "--json"), true},
		{"request", append(names, "--csr", "app.csr"), false},
		{"names of the request", []string{"--csr", "app.csr", "--accept-csr-names"}, false},
		{"profile", append(names, "--profile", "server", "--dns", "app.example.com"), false},
	} {
		stdout, err := os.Create(filepath.Join(w.dir, "stdout"))
		if err != nil {
			t.Fatal(err)
		}
		stderr, err := w.issue(stdout, test.args...)
		stdout.Close()
		if err != nil {
			t.Fatalf("%s: %v\n%s", test.name, err, stderr)
		}
		serial, c := w.newest()
		printed, wrapped := w.read("stdout"), w.read("stdout")
		if test.out {
			wrapped = w.read("out.json")
		}
		for where, data := range map[string][]byte{"standard output": printed, "the file": wrapped, "standard error": []byte(stderr)} {
			if contains(data, c) || bytes.Contains(data, []byte("BEGIN CERTIFICATE")) {
				t.Errorf("%s: %s contains the certificate: %s", test.name, where, data)
			}
		}
		if contains(wrapped, c) || !bytes.Contains(wrapped, []byte("holdfast-wrapped-certificate")) {
			t.Errorf("%s: no wrapped certificate: %s", test.name, wrapped)
		}
		var result struct {
			Serial, Certificate string
			Wrapped             json.RawMessage
		}
		if strings.Contains(test.name, "JSON") {
			if err := json.Unmarshal(printed, &result); err != nil || result.Serial != serial || result.Certificate != "" {
				t.Errorf("%s: %+v, %v", test.name, result, err)
			}
			if _, err := attestation.ParseWrapped(result.Wrapped); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if strings.Contains(stderr, "BEGIN") || !strings.Contains(stderr, "holdfast install --certificate ") {
			t.Errorf("%s: %s", test.name, stderr)
		}
	}
	// Without --attestation, the certificate is printed.
	plain := mustRun(t, w.dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app")
	if _, c := w.newest(); !contains([]byte(plain), c) {
		t.Error("a certificate without evidence is not printed")
	}
}

// If the output is lost, the hint is to revoke the certificate, not to print it, which
// would give it to everybody.
func TestWrappedOutputFails(t *testing.T) {
	w := newWrappingCA(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) && runtime.GOOS != "linux" {
		t.Skip("only Linux is sure to have /dev/full")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"--subject", "CN=app"}, {"--subject", "CN=app", "--json"}} {
		stderr, err := w.issue(full, args...)
		serial, c := w.newest()
		w.wantRevocation(stderr, err, serial, c)
		if strings.Contains(stderr, "holdfast install") {
			t.Errorf("%q: %s", args, stderr)
		}
	}
}

// wantRevocation checks the error after which a certificate is of no use, and that the
// command in its hint revokes the certificate.
func (w wrappingCA) wantRevocation(stderr string, err error, serial string, c *x509.Certificate) {
	w.Helper()
	_, hint, _ := strings.Cut(stderr, "\nhint: ")
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || contains([]byte(stderr), c) || strings.Contains(hint, "ca show") || strings.Contains(hint, "print it") {
		w.Errorf("%v: %s", err, stderr)
	}
	_, revoke, _ := strings.Cut(strings.TrimSpace(hint), "revoke this one with: holdfast ")
	if revoke != "ca revoke --dir ca --serial "+serial {
		w.Fatalf("the hint is no command that revokes %s: %s", serial, stderr)
	}
	mustRun(w.T, w.dir, strings.Fields(revoke)...)
	if text := mustRun(w.T, w.dir, "ca", "show", "--serial", serial, "--json"); !strings.Contains(text, `"state":"revoked"`) {
		w.Errorf("after the hint: %s", text)
	}
}

// The certificate with the most and the longest names fits into a wrapped file.
func TestWrapLargestCertificate(t *testing.T) {
	w := newWrappingCA(t)
	args := []string{"--subject", "CN=app", "--profile", "server", "--out", "out.json"}
	label := strings.Repeat("a", 60) + "."
	for i := range 100 {
		args = append(args, "--dns", fmt.Sprintf("host-%02d.", i)+strings.Repeat(label, 4)[16:]+"a")
	}
	if stderr, err := w.issue(nil, args...); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	data := w.read("out.json")
	if _, err := attestation.ParseWrapped(data); err != nil {
		t.Error(err)
	}
	if _, c := w.newest(); len(c.DNSNames) != 100 || len(c.Raw) < 20_000 {
		t.Errorf("%d names in %d bytes", len(c.DNSNames), len(c.Raw))
	}
	t.Logf("%d bytes of at most %d", len(data), attestation.MaxSize)
}
