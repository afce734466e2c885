package file

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var _ keystore.Lister = Backend{}

func TestList(t *testing.T) {
	dir := t.TempDir()
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	chain := []*x509.Certificate{ca.Issue(t, key, nil), ca.Cert}
	for _, test := range []struct {
		name string
		data []byte
		want []keystore.EntryKind
		err  error
	}{
		{"a key", signertest.KeyPEM(t, key), []keystore.EntryKind{keystore.KeyEntry}, nil},
		{"a chain", signertest.CertPEM(chain...), []keystore.EntryKind{keystore.CertificateEntry, keystore.CertificateEntry}, nil},
		{"a key behind its chain", append(signertest.CertPEM(chain...), signertest.KeyPEM(t, key)...),
			[]keystore.EntryKind{keystore.KeyEntry, keystore.CertificateEntry, keystore.CertificateEntry}, nil},
		{"a key of a TPM", pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: []byte{0x30, 0}}), []keystore.EntryKind{keystore.KeyEntry}, nil},
		{"a request", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{0x30, 0}}), nil, errors.ErrUnsupported},
	} {
		ref := keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(dir, "file")}
		if err := os.WriteFile(ref.Rest, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := Backend{}.List(t.Context(), ref, keystore.Call{})
		if !errors.Is(err, test.err) || len(entries) != len(test.want) {
			t.Errorf("%s: %d entries, %v; want %d, %v", test.name, len(entries), err, len(test.want), test.err)
			continue
		}
		for i, e := range entries {
			if e.Kind != test.want[i] || e.Ref != ref {
				t.Errorf("%s: entry %d is %+v", test.name, i+1, e)
			}
			if e.Public != nil && !signer.SamePublicKey(e.Public, key.Public()) {
				t.Errorf("%s: another public key", test.name)
			}
		}
	}
	// There is no list of all files.
	if entries, err := (Backend{}).List(t.Context(), keystore.Ref{Scheme: keystore.SchemeFile}, keystore.Call{}); len(entries) > 0 || err != nil {
		t.Errorf("%v, %v", entries, err)
	}
}

// A part that cannot be read does not hide the others, and the error names it.
func TestListOfADamagedFile(t *testing.T) {
	key := signertest.Key(t, "p256")
	certPEM, keyPEM := signertest.CertPEM(signertest.NewCA(t, "root").Issue(t, key, nil)), signertest.KeyPEM(t, key)
	block := func(kind string, der ...byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	tpmKey, badCert := block("TSS2 PRIVATE KEY", 0x30, 0), block("CERTIFICATE", 0x30, 0)
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	locked := block("ENCRYPTED PRIVATE KEY", encrypt(t, plain, "right").der(t)...)
	half := append(certPEM[:len(certPEM)/2:len(certPEM)/2], '\n')
	for _, test := range []struct {
		name  string
		data  [][]byte
		want  string   // the kinds of the entries
		names []string // in the error; none: no error
	}{
		{"a TPM key after its certificate", [][]byte{certPEM, tpmKey}, "key certificate", nil},
		{"a TPM key before its certificate", [][]byte{tpmKey, certPEM}, "key certificate", nil},
		{"a damaged certificate after another", [][]byte{certPEM, badCert}, "certificate", []string{"certificate: "}},
		{"a damaged certificate before another", [][]byte{badCert, certPEM}, "certificate", []string{"certificate: "}},
		{"a truncated certificate", [][]byte{certPEM, half}, "certificate", []string{"block 2 is damaged"}},
		{"a truncated certificate between", [][]byte{certPEM, half, keyPEM, badCert}, "key certificate", []string{"block 2 is damaged", "certificate: "}},
		{"an empty block", [][]byte{block("CERTIFICATE"), keyPEM}, "key", []string{"block 1 is damaged"}},
		{"a key and a damaged certificate", [][]byte{keyPEM, badCert}, "key", []string{"certificate: "}},
		{"a damaged key and a certificate", [][]byte{block("PRIVATE KEY", 0x30, 0), certPEM}, "certificate", []string{"private key is damaged"}},
		{"a wrong password and a certificate", [][]byte{locked, certPEM}, "key certificate", []string{"password incorrect"}},
		{"a request and a certificate", [][]byte{block("CERTIFICATE REQUEST", 0x30, 0), certPEM}, "certificate", []string{`"CERTIFICATE REQUEST"`}},
	} {
		ref := keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(t.TempDir(), "file")}
		if err := os.WriteFile(ref.Rest, bytes.Join(test.data, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		pin := func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("wrong"), nil }
		entries, err := Backend{}.List(t.Context(), ref, keystore.Call{Options: keystore.Options{PIN: pin}})
		var kinds []string
		for _, e := range entries {
			kinds = append(kinds, string(e.Kind))
		}
		if got := strings.Join(kinds, " "); got != test.want || (err != nil) != (test.names != nil) {
			t.Errorf("%s: %s, error %v", test.name, got, err)
		}
		for _, name := range test.names {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: error %v does not name %s", test.name, err, name)
			}
		}
	}
}
