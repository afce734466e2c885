package file

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
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
