package authority_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestMain lets this test binary also be a process that issues certificates
// until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("AUTHORITY_DIR"); dir != "" {
		fmt.Println(issueForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// issueForever prints "issued SERIAL" for each certificate that it got, and
// "crl NUMBER" for each revocation list.
func issueForever(dir string) error {
	a, err := authority.Open(dir, authority.Options{})
	if err != nil {
		return err
	}
	data, err := os.ReadFile(os.Getenv("AUTHORITY_KEY"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	key := signer.FromKey(parsed.(crypto.Signer))
	notBefore, notAfter := pki.Validity(a.Chain()[0], time.Now(), time.Hour)
	t := pki.Template{Profile: pki.Client, Names: pki.CommonName("app"), PublicKey: key.Public(), NotBefore: notBefore, NotAfter: notAfter}
	for n := 1; ; n++ {
		c, err := a.Issue(context.Background(), key, t, "")
		if err != nil {
			return err
		}
		fmt.Printf("issued %x\n", c.SerialNumber.Bytes())
		if n%4 != 0 {
			continue
		}
		if err := a.Revoke(context.Background(), fmt.Sprintf("%x", c.SerialNumber.Bytes()), pki.Superseded); err != nil {
			return err
		}
		text, err := a.CRL(context.Background(), key, time.Hour)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return err
		}
		fmt.Printf("crl %v\n", list.Number)
	}
}

// Writers that are killed at any time leave a folder without contradictions,
// and use no number twice.
func TestKilledWriters(t *testing.T) {
	_, _, dir := newCA(t)
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(keyFile, signertest.KeyPEM(t, signertest.Key(t, "p256")), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const writers, kills = 3, 12
	lines := make(chan string, 1<<16)
	var all sync.WaitGroup
	for w := range writers {
		random := mathrand.New(mathrand.NewPCG(1, uint64(w)))
		all.Go(func() {
			for range kills {
				cmd := exec.Command(self)
				cmd.Env = append(os.Environ(), "AUTHORITY_DIR="+dir, "AUTHORITY_KEY="+keyFile)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Error(err)
					return
				}
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				left := 1 + random.IntN(8)
				for scan := bufio.NewScanner(out); scan.Scan(); {
					lines <- scan.Text()
					if left--; left == 0 { // somewhere in the next issue, and then read what is left
						time.AfterFunc(time.Duration(random.Int64N(int64(5*time.Millisecond))), func() { _ = cmd.Process.Kill() })
					}
				}
				_ = cmd.Wait()
			}
		})
	}
	all.Wait()
	close(lines)
	a := wantSound(t, dir)
	seen := make(map[string]bool)
	for line := range lines {
		if kind, number, _ := strings.Cut(line, " "); seen[line] || kind != "issued" && kind != "crl" {
			t.Errorf("%q, seen before: %t", line, seen[line])
		} else if seen[line] = true; kind == "issued" {
			if _, err := a.Certificate(number); err != nil {
				t.Error(err)
			}
		}
	}
	list, err := a.List()
	if err != nil || len(list) < len(seen)/2 || len(seen) < writers*kills {
		t.Errorf("%d entries, %d lines, %v", len(list), len(seen), err)
	}
}

func newCA(t *testing.T) (*authority.Authority, signer.Signer, string) {
	t.Helper()
	key := signer.FromKey(signertest.Key(t, "p256"))
	notBefore, notAfter := pki.Validity(nil, time.Now(), pki.Root.Lifetime)
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.SelfSign(rand.Reader, key, pki.Template{Profile: pki.Root, Names: pki.CommonName("Root"), Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := authority.Create(dir, []*x509.Certificate{root}, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a, key, dir
}

func template(t *testing.T, a *authority.Authority, name string) pki.Template {
	t.Helper()
	notBefore, notAfter := pki.Validity(a.Chain()[0], time.Now(), time.Hour)
	return pki.Template{Profile: pki.Client, Names: pki.CommonName(name), PublicKey: signertest.Key(t, "p384").Public(), NotBefore: notBefore, NotAfter: notAfter}
}

func wantSound(t *testing.T, dir string) *authority.Authority {
	t.Helper()
	a, err := authority.Open(dir, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range check(t, a) {
		t.Error(problem)
	}
	return a
}

// check returns the problems, without those of signatures that were interrupted.
func check(t *testing.T, a *authority.Authority) []*authority.Problem {
	t.Helper()
	problems, err := a.Check()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(problems, func(p *authority.Problem) bool { return p.Missing })
}

func TestLifeOfACertificate(t *testing.T) {
	a, key, dir := newCA(t)
	c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.Issue(t.Context(), key, template(t, a, "other"), "")
	if err != nil {
		t.Fatal(err)
	}
	b := wantSound(t, dir)
	list, err := b.List()
	if err != nil || len(list) != 2 || list[0].Subject != "CN=app" || list[0].Profile != "client" || !list[0].Revoked.IsZero() {
		t.Fatalf("%+v, %v", list, err)
	}
	if got, err := b.Certificate(list[1].Serial); err != nil || !got.Equal(other) {
		t.Errorf("%v, %v", got, err)
	}
	for range 2 { // the second time it is revoked already
		if err := b.Revoke(t.Context(), list[0].Serial, pki.KeyCompromise); err != nil {
			t.Error(err)
		}
	}
	if err := b.Revoke(t.Context(), "0badcafe", pki.Superseded); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown serial number: %v", err)
	}
	for number := int64(1); number <= 2; number++ {
		text, err := a.CRL(t.Context(), key, time.Hour) // a sees what b wrote
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		crl, err := x509.ParseRevocationList(block.Bytes)
		if err != nil || crl.Number.Int64() != number || len(crl.RevokedCertificateEntries) != 1 || crl.RevokedCertificateEntries[0].SerialNumber.Cmp(c.SerialNumber) != 0 {
			t.Errorf("%+v, %v", crl, err)
		}
	}
	wantSound(t, dir)
}

func TestCreateRefusesAFolderInUse(t *testing.T) {
	a, _, dir := newCA(t)
	if _, err := authority.Create(dir, a.Chain(), authority.Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	wantSound(t, dir)
}

// Several writers use no number twice.
func TestWriters(t *testing.T) {
	_, key, dir := newCA(t)
	const writers, each = 4, 25
	var all sync.WaitGroup
	for w := range writers {
		a, err := authority.Open(dir, authority.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for i := range each {
				if _, err := a.Issue(t.Context(), key, template(t, a, fmt.Sprintf("app-%d-%d", w, i)), ""); err != nil {
					t.Error(err)
				}
				if i%5 == 0 {
					if _, err := a.CRL(t.Context(), key, time.Hour); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	a := wantSound(t, dir)
	list, err := a.List()
	if err != nil || len(list) != writers*each {
		t.Errorf("%d entries, %v", len(list), err)
	}
	if number, _, err := a.LastCRL(); err != nil || number.Int64() != writers*each/5 {
		t.Errorf("CRL number %v, %v", number, err)
	}
}

func TestAlteredIndex(t *testing.T) {
	for name, change := range map[string]func(lines []string) []string{
		"missing line":   func(l []string) []string { return append(l[:2:2], l[3:]...) },
		"missing start":  func(l []string) []string { return l[1:] },
		"changed line":   func(l []string) []string { l[2] = strings.Replace(l[2], "CN=app-1", "CN=evil", 1); return l },
		"repeated line":  func(l []string) []string { return append(l, l[len(l)-1]) },
		"swapped lines":  func(l []string) []string { l[1], l[2] = l[2], l[1]; return l },
		"unknown field":  func(l []string) []string { l[0] = strings.Replace(l[0], "{", `{"x":1,`, 1); return l },
		"later version":  func(l []string) []string { l[0] = strings.Replace(l[0], `"version":1`, `"version":2`, 1); return l },
		"garbage":        func(l []string) []string { return append(l, "garbage\n") },
		"junk behind it": func(l []string) []string { l[3] = strings.Replace(l[3], "}", "}]", 1); return l },
		"another case":   func(l []string) []string { l[3] = strings.Replace(l[3], "{", `{"SERIAL":"1",`, 1); return l },
		"a space":        func(l []string) []string { l[3] = strings.Replace(l[3], ",", ", ", 1); return l },
		"long line":      func(l []string) []string { return append(l, strings.Repeat("\x00", 70<<10)) },
		"reason 7": func(l []string) []string {
			return append(l, fmt.Sprintf(`{"n":5,"previous":"%x","time":"2026-01-01T00:00:00Z","event":"revoke","serial":%s,"reason":7}`+"\n",
				sha256.Sum256([]byte(strings.TrimSuffix(l[3], "\n"))), strings.Split(strings.SplitAfter(l[3], `"serial":`)[1], ",")[0]))
		},
		"empty line":       func(l []string) []string { return append(l, "\n") },
		"nothing":          func([]string) []string { return nil },
		"another folder's": func(l []string) []string { return l[:1] },
	} {
		t.Run(name, func(t *testing.T) {
			a, key, dir := newCA(t)
			for i := range 3 {
				if _, err := a.Issue(t.Context(), key, template(t, a, fmt.Sprintf("app-%d", i)), ""); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, "index.jsonl")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Join(change(strings.SplitAfter(strings.TrimSuffix(string(data), "\n")+"\n", "\n")[:4]), "")
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := authority.Open(dir, authority.Options{})
			if name == "another folder's" { // the certificates are there, but not the events
				if err != nil {
					t.Fatal(err)
				}
				if problems := check(t, b); len(problems) != 3 {
					t.Errorf("%v", problems)
				}
				return
			}
			if !errors.Is(err, authority.ErrIndex) {
				t.Errorf("%v", err)
			}
			if _, err := a.Issue(t.Context(), key, template(t, a, "late"), ""); name != "missing start" && len(changed) < len(data) && !errors.Is(err, authority.ErrIndex) {
				t.Errorf("a writer that has read the old index: %v", err)
			}
		})
	}
}

// A part of a line, which a killed writer left, is removed by the next one.
func TestTornLine(t *testing.T) {
	a, key, dir := newCA(t)
	path := filepath.Join(dir, "index.jsonl")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"n":2,"previous":"`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if list, err := wantSound(t, dir).List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := a.Issue(t.Context(), key, template(t, a, "app"), ""); err != nil {
		t.Fatal(err)
	}
	if list, err := wantSound(t, dir).List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// A device that does not answer does not hold the lock for ever, and its serial
// number is not used again.
func TestMuteKey(t *testing.T) {
	a, key, dir := newCA(t)
	release := make(chan struct{})
	defer close(release)
	mute := &signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error { <-release; return nil }}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := a.Issue(ctx, mute, template(t, a, "mute"), ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := a.Issue(t.Context(), key, template(t, a, "app"), ""); err != nil {
		t.Error(err)
	}
	list, err := wantSound(t, dir).List()
	if err != nil || len(list) != 2 || list[0].Serial == list[1].Serial {
		t.Fatalf("%v, %v", list, err)
	}
	if _, err := a.Certificate(list[0].Serial); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a certificate that was not signed: %v", err)
	}
}
