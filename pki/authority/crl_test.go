package authority_test

import (
	"bytes"
	"crypto/rand"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// writeList signs a revocation list and puts it in the folder.
func writeList(t *testing.T, a *authority.Authority, key signer.Signer, number *big.Int, entries ...pki.Revocation) {
	t.Helper()
	der, err := pki.NewCRL(rand.Reader, a.Issuer(t.Context(), key), number, entries, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.Dir(), "crl.pem"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issueRevoked issues a certificate and revokes it.
func issueRevoked(t *testing.T, a *authority.Authority, key signer.Signer) (serial string) {
	t.Helper()
	c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(t.Context(), serialOf(c), pki.KeyCompromise); err != nil {
		t.Fatal(err)
	}
	return serialOf(c)
}

// wantListed makes the next list, which must have these entries.
func wantListed(t *testing.T, a *authority.Authority, key signer.Signer, serials ...string) []byte {
	t.Helper()
	text, err := a.CRL(t.Context(), key, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	list := parseCRL(t, text)
	var got []string
	for _, e := range list.RevokedCertificateEntries {
		got = append(got, e.SerialNumber.Text(16))
	}
	if len(got) != len(serials) {
		t.Fatalf("list %v has the entries %q, want %q", list.Number, got, serials)
	}
	for i, serial := range serials {
		if n, _ := new(big.Int).SetString(serial, 16); n.Text(16) != got[i] {
			t.Errorf("entry %d is %s, want %s", i, got[i], serial)
		}
	}
	return text
}

// After the restore of an old folder with the list that was published last, the
// next list revokes at least the same.
func TestNoEntryIsLost(t *testing.T) {
	a, key, dir := newCA(t)
	old, err := os.ReadFile(filepath.Join(dir, "index.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	serial := issueRevoked(t, a, key)
	wantListed(t, a, key, serial)
	if err := os.WriteFile(filepath.Join(dir, "index.jsonl"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := authority.Open(dir, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantListed(t, b, key, serial)

	// An entry that cannot be in the index is not lost silently either.
	writeList(t, b, key, big.NewInt(9), pki.Revocation{Serial: new(big.Int).Lsh(big.NewInt(1), 159), Time: time.Now()})
	if text, err := b.CRL(t.Context(), key, time.Hour); err == nil || signer.Hint(err) == "" {
		t.Errorf("%s, %v", text, err)
	}
}

// A list that was made with a wrong clock takes no entries from the lists after it.
func TestListOfTheFuture(t *testing.T) {
	_, key, dir := newCA(t)
	now := time.Now()
	a, err := authority.Open(dir, authority.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	now = now.AddDate(4, 0, 0)
	wantListed(t, a, key)
	now = time.Now()
	serial := issueRevoked(t, a, key)
	wantListed(t, a, key, serial)
}

// The highest number of a list is 2^159-1 (RFC 5280, section 5.2.3). No event is
// written for a list after it.
func TestHighestNumber(t *testing.T) {
	a, key, dir := newCA(t)
	highest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))
	writeList(t, a, key, new(big.Int).Sub(highest, big.NewInt(1)))
	if list := parseCRL(t, wantListed(t, a, key)); list.Number.Cmp(highest) != 0 {
		t.Errorf("number %v", list.Number)
	}
	before, err := os.ReadFile(filepath.Join(dir, "index.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := a.CRL(t.Context(), key, time.Hour); err == nil || signer.Hint(err) == "" {
		t.Errorf("%s, %v", text, err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "index.jsonl")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the index has changed, %v", err)
	}
	if problems := check(t, a); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}

// A list that expires at once uses no number.
func TestListWithoutALife(t *testing.T) {
	a, key, _ := newCA(t)
	if text, err := a.CRL(t.Context(), key, time.Nanosecond); err == nil {
		t.Errorf("%s", text)
	}
	if number, _, err := a.LastCRL(); err != nil || number.Sign() != 0 {
		t.Errorf("%v, %v", number, err)
	}
}

// A list with the last number must revoke what the index says.
func TestListWithoutAnEntry(t *testing.T) {
	a, key, _ := newCA(t)
	serial := issueRevoked(t, a, key)
	wantListed(t, a, key, serial)
	if problems := check(t, a); len(problems) != 0 {
		t.Errorf("%v", problems)
	}
	writeList(t, a, key, big.NewInt(1))
	if problems := check(t, a); len(problems) != 1 || problems[0].Repairable {
		t.Errorf("%v", problems)
	}
}

// A serial number can be the beginning of another one.
func TestShortSerial(t *testing.T) {
	a, key, _ := newCA(t)
	long, err := a.Issue(t.Context(), key, template(t, a, "long"), "")
	if err != nil {
		t.Fatal(err)
	}
	short := template(t, a, "short")
	short.Serial = new(big.Int).SetBytes(long.SerialNumber.Bytes()[:1])
	c, err := pki.Issue(rand.Reader, a.Issuer(t.Context(), key), short)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := a.Adopt(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := a.Find(serial); err != nil || found.Subject != "CN=short" {
		t.Errorf("%+v, %v", found, err)
	}
}
