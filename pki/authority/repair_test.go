package authority_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func parseCRL(t *testing.T, text []byte) *x509.RevocationList {
	t.Helper()
	block, _ := pem.Decode(text)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A copy that is made while others write is sound after a repair, and continues
// with numbers that were not used before the copy.
func TestCopyDuringWrites(t *testing.T) {
	a, key, dir := newCA(t)
	var stop atomic.Bool
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					if err := a.Revoke(t.Context(), serialOf(c), pki.Superseded); err != nil {
						t.Error(err)
					}
					if _, err := a.CRL(t.Context(), key, time.Hour); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	var copies []string
	for _, indexFirst := range []bool{true, false, true, false, true, false} {
		to := filepath.Join(t.TempDir(), "copy")
		copies = append(copies, to)
		if indexFirst { // as cp may do
			if err := os.MkdirAll(to, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"index.jsonl", "ca.pem"} {
				copyFile(t, filepath.Join(dir, name), filepath.Join(to, name))
			}
		}
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(dir, path)
			target := filepath.Join(to, rel)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a temporary file
			}
			if d.IsDir() {
				return os.MkdirAll(target, 0o700)
			}
			if _, err := os.Stat(target); err != nil {
				copyFile(t, path, target)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	writers.Wait()
	wantSound(t, dir)
	for _, dir := range copies {
		b, err := authority.Open(dir, authority.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var before int64
		if text, err := os.ReadFile(filepath.Join(dir, "crl.pem")); err == nil {
			before = parseCRL(t, text).Number.Int64()
		}
		for _, p := range check(t, b) {
			if !p.Repairable {
				t.Error(p)
			}
		}
		if _, err := b.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range check(t, b) {
			t.Errorf("after the repair: %v", p)
		}
		text, err := b.CRL(t.Context(), key, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if n := parseCRL(t, text).Number.Int64(); n <= before {
			t.Errorf("CRL number %d after %d", n, before)
		}
		wantSound(t, dir)
	}
}

func serialOf(c *x509.Certificate) string {
	return hex.EncodeToString(c.SerialNumber.Bytes())
}

// copyFile copies a file unless it is gone. On Windows a file that is being removed or
// renamed cannot be opened, so it tries again for some seconds.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	for end := time.Now().Add(10 * time.Second); err != nil && !errors.Is(err, fs.ErrNotExist) && runtime.GOOS == "windows" && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		data, err = os.ReadFile(from)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The index of an old backup gets back what the certificates and the published
// revocation list prove.
func TestRepairOfAnOldIndex(t *testing.T) {
	a, key, dir := newCA(t)
	if _, err := a.Issue(t.Context(), key, template(t, a, "first"), ""); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, "index.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, name := range []string{"kept", "lost"} {
		c, err := a.Issue(t.Context(), key, template(t, a, name), "")
		if err != nil {
			t.Fatal(err)
		}
		serials = append(serials, serialOf(c))
		reason := pki.Superseded
		if name == "lost" {
			reason = pki.KeyCompromise // the last one, because the key is the same
		}
		if err := a.Revoke(t.Context(), serials[len(serials)-1], reason); err != nil {
			t.Fatal(err)
		}
		if _, err := a.CRL(t.Context(), key, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "certificates", serials[1]+".pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.jsonl"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := authority.Open(dir, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// An unknown certificate, the number of the list, and its two entries.
	if problems := check(t, b); len(problems) != 4 {
		t.Errorf("%v", problems)
	}
	if n, err := b.Repair(t.Context()); n != 5 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	wantSound(t, dir)
	if n, err := b.Repair(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d events, %v", n, err)
	}
	text, err := b.CRL(t.Context(), key, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	list := parseCRL(t, text)
	if list.Number.Cmp(big.NewInt(3)) != 0 || len(list.RevokedCertificateEntries) != 2 || list.RevokedCertificateEntries[1].ReasonCode != int(pki.KeyCompromise) {
		t.Errorf("%v, %v", list.Number, list.RevokedCertificateEntries)
	}
}

// A revocation list that is newer than the index only raises the number.
func TestNewerRevocationList(t *testing.T) {
	a, key, dir := newCA(t)
	der, err := pki.NewCRL(rand.Reader, a.Issuer(t.Context(), key), big.NewInt(41), nil, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "crl.pem"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := a.CRL(t.Context(), key, time.Hour)
	if err != nil || parseCRL(t, text).Number.Int64() != 42 {
		t.Errorf("%s, %v", text, err)
	}
	wantSound(t, dir)
}

func TestAdopt(t *testing.T) {
	a, key, dir := newCA(t)
	other, _, _ := newCA(t)
	foreign := template(t, a, "elsewhere")
	foreign.Serial = big.NewInt(0x1000)
	c, err := pki.Issue(rand.Reader, a.Issuer(t.Context(), key), foreign)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		serial, err := a.Adopt(t.Context(), c)
		if serial != "1000" || err != nil {
			t.Errorf("%q, %v", serial, err)
		}
	}
	if err := a.Revoke(t.Context(), "1000", pki.Unspecified); err != nil {
		t.Error(err)
	}
	if found, err := a.Find("10:00"); err != nil || found.Subject != "CN=elsewhere" || found.Revoked.IsZero() {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := a.Adopt(t.Context(), signertest.NewCA(t, "x").Issue(t, signertest.Key(t, "p256"), nil)); err == nil {
		t.Error("a certificate of another CA is adopted")
	}
	// Another CA that has the same key.
	root := *a.Chain()[0]
	root.RawSubject, root.Subject.CommonName = nil, "CN=Another"
	der, err := x509.CreateCertificate(rand.Reader, &root, &root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	foreign.Serial = big.NewInt(0x2000)
	c, err = pki.Issue(rand.Reader, pki.Issuer{Certificate: renamed, Key: key}, foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Adopt(t.Context(), c); err == nil {
		t.Error("a certificate of another CA with the same key is adopted")
	}
	if _, err := other.Find("1000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	wantSound(t, dir)
}

// A revoked certificate is in one list after its end, and then no longer (RFC
// 5280, section 3.3).
func TestExpiredEntries(t *testing.T) {
	_, key, dir := newCA(t)
	now := time.Now()
	a, err := authority.Open(dir, authority.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(t.Context(), key, template(t, a, "app"), ""); err != nil { // for an hour
		t.Fatal(err)
	}
	list, err := a.List()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(t.Context(), list[0].Serial, pki.Unspecified); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 1, 1, 0} {
		text, err := a.CRL(t.Context(), key, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(parseCRL(t, text).RevokedCertificateEntries); got != want {
			t.Errorf("list %d: %d entries, want %d", i+1, got, want)
		}
		now = now.Add(45 * time.Minute)
	}
}

// Nothing is written to the index that its readers would refuse.
func TestUnreadableEvents(t *testing.T) {
	a, key, dir := newCA(t)
	big64 := template(t, a, "app")
	big64.Profile.Name = strings.Repeat("x", 70<<10) // its line would be too long
	if c, err := a.Issue(t.Context(), key, big64, ""); err == nil || c != nil {
		t.Fatalf("%v, %v", c, err)
	}
	wantSound(t, dir)

	// A revocation list of this CA with what cannot be in the index.
	c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: new(big.Int), RevocationTime: time.Now()},
			{SerialNumber: new(big.Int).Lsh(big.NewInt(1), 159), RevocationTime: time.Now()},
			{SerialNumber: big.NewInt(77), RevocationTime: time.Now()},
			{SerialNumber: c.SerialNumber, RevocationTime: time.Now(), ReasonCode: 8}, // removeFromCRL
		},
	}, a.Chain()[0], key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "crl.pem"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if added, err := a.Repair(t.Context()); err != nil || added != 3 { // the certificate 77, its revocation, and the list
		t.Fatalf("%d events, %v", added, err)
	}
	again, err := authority.Open(dir, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	problems := check(t, again)
	if len(problems) != 2 {
		t.Errorf("%v", problems)
	}
	for _, p := range problems {
		if p.Repairable {
			t.Errorf("%v can be repaired", p)
		}
	}
	if entry, err := again.Find(serialOf(c)); err != nil || !entry.Revoked.IsZero() {
		t.Errorf("%+v, %v", entry, err)
	}
}
