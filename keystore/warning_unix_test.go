//go:build unix

package keystore_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"os"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestWarnsOfWorldAccessibleFile(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	leaf := ca.Issue(t, key, nil)
	keyPEM, certPEM := signertest.KeyPEM(t, key), signertest.CertPEM(leaf)
	block, _ := pem.Decode(keyPEM)
	pfx, err := pkcs12.Modern.Encode(key, leaf, nil, "password")
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, new(x509.CertificateRequest), key)
	if err != nil {
		t.Fatal(err)
	}
	// EncryptedPrivateKeyInfo with PBES2 and without contents.
	encrypted := []byte("\x30\x0f\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d\x04\x00")
	for _, test := range []struct {
		name string
		data []byte
		mode os.FileMode
		want int
	}{
		{"key in PEM", keyPEM, 0o644, 1},
		{"key in PEM that others can write", keyPEM, 0o602, 1},
		{"key after a certificate", append(certPEM, keyPEM...), 0o644, 1},
		{"key in PKCS #8", block.Bytes, 0o644, 1},
		{"PKCS #12", pfx, 0o644, 1},
		{"PKCS #12 in PEM", pem.EncodeToMemory(&pem.Block{Type: "PKCS12", Bytes: pfx}), 0o644, 1},
		{"encrypted key in PEM", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30, 0}}), 0o644, 1},
		{"TPM key", pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: []byte{0x30, 0}}), 0o644, 1},
		// The first bytes of RSA keys whose lengths have an octet 0xA0.
		{"PKCS #1 of 1188 bytes", []byte{0x30, 0x82, 0x04, 0xa0, 0x02, 0x01, 0x00, 0x02, 0x82, 0x01, 0x01, 0x00, 0xc5}, 0o644, 1},
		{"PKCS #12 of 2724 bytes", []byte{0x30, 0x82, 0x0a, 0xa0, 0x02, 0x01, 0x03, 0x30, 0x82, 0x0a, 0x56, 0x06, 0x09}, 0o644, 1},
		{"base64 of a key in PEM", []byte(base64.StdEncoding.EncodeToString(keyPEM)), 0o644, 1},
		{"base64 of a key in DER", []byte(base64.StdEncoding.EncodeToString(block.Bytes)), 0o644, 1},
		{"encrypted key", encrypted, 0o644, 1},
		{"encrypted key in PEM with another label", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encrypted}), 0o644, 1},
		{"PKCS #12 with another label", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pfx}), 0o644, 1},

		{"key that the group can read", keyPEM, 0o640, 0},
		{"key that the owner can read", keyPEM, 0o400, 0},
		{"key in PKCS #8 that the owner can read", block.Bytes, 0o600, 0},
		{"certificate", certPEM, 0o644, 0},
		{"certificate in DER", leaf.Raw, 0o644, 0},
		{"public key", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{0x30, 0}}), 0o644, 0},
		{"public key in DER", spki, 0o644, 0},
		{"public key in PKCS #1", x509.MarshalPKCS1PublicKey(&signertest.Key(t, "rsa2048").(*rsa.PrivateKey).PublicKey), 0o644, 0},
		{"request in DER", request, 0o644, 0},
		{"PKCS #7", []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x00"), 0o644, 0},
		{"damaged certificate in DER", leaf.Raw[:len(leaf.Raw)/2], 0o644, 0},
		{"base64 of a certificate", []byte(base64.StdEncoding.EncodeToString(leaf.Raw)), 0o644, 0},
		{"text", []byte("PRIVATE KEY"), 0o644, 0},
		{"nothing", nil, 0o644, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.data, test.mode)
			var log recorder
			if _, err := (keystore.Call{Options: keystore.Options{Logger: slog.New(&log)}}).Read(t.Context(), fileRef(path)); err != nil {
				t.Fatal(err)
			}
			log.check(t, test.want, path)
		})
	}
}

// A recorder is a [slog.Handler] that keeps what is logged.
type recorder struct{ records []slog.Record }

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	r.records = append(r.records, rec)
	return nil
}

// check reports an error unless the log is n warnings that name path.
func (r *recorder) check(t *testing.T, n int, path string) {
	t.Helper()
	if len(r.records) != n {
		t.Errorf("%d records, want %d: %v", len(r.records), n, r.records)
	}
	for _, rec := range r.records {
		if rec.Level != slog.LevelWarn || !strings.Contains(rec.Message, path) {
			t.Errorf("%v %q, want a warning about %s", rec.Level, rec.Message, path)
		}
	}
}

func TestWarnsOnce(t *testing.T) {
	path := write(t, newPKI(t).all(), 0o644)
	var log recorder
	s, err := texts{Key: path, Certificate: path, Intermediates: path}.open(t, keystore.New(file.Backend{}), keystore.Options{Logger: slog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	log.check(t, 1, path)
}

func TestWarnsOfWorldAccessiblePINFile(t *testing.T) {
	for mode, want := range map[os.FileMode]int{0o644: 1, 0o602: 1, 0o640: 0, 0o600: 0} {
		path := write(t, []byte("1234\n"), mode)
		var log recorder
		pin, err := pinSource(path, keystore.Options{Logger: slog.New(&log)})
		if err != nil {
			t.Fatal(err)
		}
		log.check(t, 0, path) // the PIN is not read yet
		if _, err := pin(t.Context(), keystore.Prompt{What: "PIN"}); err != nil {
			t.Fatal(err)
		}
		log.check(t, want, path)
	}
}
