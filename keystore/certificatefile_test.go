package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// privateBlocks returns the PEM blocks in data that are no certificates.
func privateBlocks(data []byte) (all [][]byte) {
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return all
		}
		if !isCertificateLabel(b.Type) {
			all = append(all, append([]byte(b.Type+"\n"), b.Bytes...))
		}
	}
}

// Whatever a file contains, its key and all other blocks remain, its certificates
// are replaced, also a second time.
func FuzzReplaceCertificates(f *testing.F) {
	key := signertest.Key(f, "p256")
	ca := signertest.NewCA(f, "root")
	chain := []*x509.Certificate{ca.Issue(f, key, nil)}
	text, old := encodeCertificates(chain), signertest.CertPEM(ca.Issue(f, key, nil))
	private := signertest.KeyPEM(f, key)
	for _, seed := range [][]byte{
		private, append(private, old...), append(old, private...), bytes.TrimRight(private, "\n"), old, nil, private[:99],
		[]byte("# a\n-----BEGIN CERTIFICATE-----\n"), bytes.ReplaceAll(private, []byte("\n"), []byte("\r\n")),
		append(private, private...), []byte(strings.ReplaceAll(string(old), "CERTIFICATE", "PRIVATE KEY")),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if mayReplace(data, chain, false) == nil && len(belonging(certificatesIn(data), chain)) != len(certificatesIn(data)) {
			t.Fatal("certificates of others would be replaced")
		}
		_ = mayReplace(data, []*x509.Certificate{ca.Cert}, false)
		got, err := replaceCertificates(data, chain)
		if err != nil {
			return
		}
		before, after := privateBlocks(data), privateBlocks(got)
		if len(before) != len(after) {
			t.Fatalf("%d other blocks before, %d after:\n%s\n%s", len(before), len(after), data, got)
		}
		for i := range before {
			if !bytes.Equal(before[i], after[i]) {
				t.Fatalf("block %d differs", i)
			}
		}
		if bytes.Count(got, text) != 1 {
			t.Fatalf("the certificate is there %d times", bytes.Count(got, text))
		}
		again, err := replaceCertificates(got, chain)
		if err != nil || bytes.Count(again, text) != 1 || len(privateBlocks(again)) != len(before) {
			t.Fatalf("a second time: %v\n%s\n%s", err, got, again)
		}
	})
}
