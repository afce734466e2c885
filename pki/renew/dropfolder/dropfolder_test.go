package dropfolder_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var token = strings.Repeat("0a", 16)

// newRequest returns a request by a key that counts its signatures.
func newRequest(tb testing.TB) (renew.Request, *signertest.Fake, *signertest.CA) {
	tb.Helper()
	ca := signertest.NewCA(tb, "CA")
	key := &signertest.Fake{Key: signertest.Key(tb, "p256")}
	key.Certificates = []*x509.Certificate{ca.Issue(tb, key.Key, nil)}
	csr, err := pki.NewRequest(rand.Reader, signer.FromKey(key.Key), pki.NamesOf(key.Certificates[0]))
	if err != nil {
		tb.Fatal(err)
	}
	return renew.Request{Old: key, CSR: csr, Token: token, Attempt: 1}, key, ca
}

func write(tb testing.TB, dir, name string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func isWait(err error, after time.Duration) bool {
	var w *renew.WaitError
	return errors.As(err, &w) && w.After == after
}

// The machine asks once, waits, and gets its certificate, also after an
// interruption. Files of other renewals are not touched.
func TestAskWaitGet(t *testing.T) {
	dir := t.TempDir()
	r, key, ca := newRequest(t)
	other := strings.Repeat("0b", 16)
	for _, suffix := range []string{".p7", ".pem", ".rejected"} {
		write(t, dir, other+suffix, []byte("other"))
	}
	way := dropfolder.Way{Dir: dir}
	for range 3 {
		if certs, err := way.Renew(t.Context(), r); certs != nil || !isWait(err, dropfolder.DefaultInterval) {
			t.Fatalf("%d certificates, %v", len(certs), err)
		}
	}
	if key.Signs() != 1 {
		t.Errorf("%d signatures for one request", key.Signs())
	}
	f, err := dropfolder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, dir, "a b.p7", []byte("not a token"))
	write(t, dir, strings.Repeat("a", 65)+".p7", []byte("not a token"))
	pending, err := f.Pending()
	if err != nil || len(pending) != 1 || pending[0] != token || f.Path(token) != filepath.Join(dir, token+".p7") {
		t.Fatalf("%q, %v", pending, err)
	}
	data, err := f.Request(token)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cms.Parse(data)
	if err != nil || !bytes.Equal(m.Content, r.CSR) || !m.Signer.Equal(key.Chain()[0]) {
		t.Fatalf("%v", err)
	}
	if info, err := os.Stat(f.Path(token)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	renewed := ca.Issue(t, key.Key, nil)
	if err := f.Issue(token, signertest.CertPEM(renewed, ca.Cert)); err != nil {
		t.Fatal(err)
	}
	if pending, err := f.Pending(); err != nil || len(pending) != 0 {
		t.Errorf("%q, %v", pending, err)
	}
	for range 2 { // the second time as after an interruption
		certs, err := way.Renew(t.Context(), r)
		if err != nil || len(certs) != 2 || !certs[0].Equal(renewed) {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		if _, err := os.Stat(f.Path(token)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the request is still there: %v", err)
		}
	}
	for _, suffix := range []string{".p7", ".pem", ".rejected"} {
		if data, err := os.ReadFile(filepath.Join(dir, other+suffix)); err != nil || string(data) != "other" {
			t.Errorf("the file of another renewal: %q, %v", data, err)
		}
	}
	if leftovers, err := filepath.Glob(filepath.Join(dir, ".holdfast-*")); err != nil || len(leftovers) > 0 {
		t.Errorf("%q, %v", leftovers, err)
	}
}

// A request that is not that of the machine is replaced, and another certificate in
// use signs anew.
func TestReplacesRequest(t *testing.T) {
	dir := t.TempDir()
	r, key, ca := newRequest(t)
	way := dropfolder.Way{Dir: dir, Interval: time.Second, Now: func() time.Time { return time.Unix(1800000000, 0) }}
	for i, change := range []func(){
		func() {},
		func() { write(t, dir, token+".p7", []byte("garbage")) },
		func() { key.Certificates = []*x509.Certificate{ca.Issue(t, key.Key, nil)} },
	} {
		change()
		if _, err := way.Renew(t.Context(), r); !isWait(err, time.Second) {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, token+".p7"))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := cms.Parse(data); err != nil || !m.Signer.Equal(key.Chain()[0]) || m.Time.Unix() != 1800000000 || key.Signs() != i+1 {
			t.Errorf("change %d: %v, %d signatures", i, err, key.Signs())
		}
	}
}

func TestRejected(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a reason":           {"the certificate was revoked\n", "the certificate was revoked"},
		"nothing":            {"", renew.ErrRejected.Error()},
		"several lines":      {"\n\nfirst\nsecond\n", "first"},
		"control characters": {"red \x1b[31m\x07 alert\r\n", "red ?[31m? alert"},
		"not UTF-8":          {"\xff\xfe", "\ufffd\ufffd"},
		"long":               {strings.Repeat("ä", 1000), strings.Repeat("ä", 200) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r, _, _ := newRequest(t)
			write(t, dir, token+".p7", nil)
			write(t, dir, token+".rejected", []byte(c.text))
			for range 2 {
				_, err := (dropfolder.Way{Dir: dir}).Renew(t.Context(), r)
				if !errors.Is(err, renew.ErrRejected) || !strings.HasSuffix(err.Error(), c.want) {
					t.Errorf("%q; want %q", err, c.want)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, token+".p7")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the request is still there")
			}
		})
	}
}

// Files that are no answer are an error that names them. The request stays, and the
// next try can succeed.
func TestUnusableAnswers(t *testing.T) {
	certificate := func(der string) []byte {
		return []byte("-----BEGIN CERTIFICATE-----\n" + der + "\n-----END CERTIFICATE-----\n")
	}
	for name, c := range map[string]struct {
		file   string
		data   []byte
		reason string
	}{
		"empty":             {".pem", nil, "contains no certificate in PEM"},
		"garbage":           {".pem", []byte("garbage"), "contains no certificate in PEM"},
		"cut":               {".pem", certificate("MAA=")[:30], "contains no certificate in PEM"},
		"damaged":           {".pem", certificate("MAA="), "is damaged"},
		"a private key":     {".pem", []byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"), `PEM block "PRIVATE KEY"`},
		"huge":              {".pem", make([]byte, 1<<20+1), "is larger than 1024 KiB"},
		"a huge rejection":  {".rejected", make([]byte, 4<<10+1), "is larger than 4 KiB"},
		"a folder":          {".pem", nil, "is not a regular file"},
		"a rejected folder": {".rejected", nil, "is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r, key, ca := newRequest(t)
			path := filepath.Join(dir, token+c.file)
			if strings.Contains(name, "folder") {
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, dir, token+c.file, c.data)
			}
			_, err := (dropfolder.Way{Dir: dir}).Renew(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), c.reason) || !strings.Contains(err.Error(), path) || errors.Is(err, renew.ErrRejected) {
				t.Errorf("%v; want %q", err, c.reason)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, dir, token+".pem", signertest.CertPEM(ca.Issue(t, key.Key, nil)))
			if _, err := (dropfolder.Way{Dir: dir}).Renew(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	r, key, _ := newRequest(t)
	if _, err := (dropfolder.Way{Dir: filepath.Join(t.TempDir(), "none")}).Renew(t.Context(), r); !errors.Is(err, renew.ErrUnreachable) || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	r.Token = "../up"
	if _, err := (dropfolder.Way{Dir: t.TempDir()}).Renew(t.Context(), r); err == nil || !strings.Contains(err.Error(), "is not the name of a file") {
		t.Error(err)
	}
	r.Token = token
	key.OnSign = func(int) error { return signer.ErrUnavailable }
	if _, err := (dropfolder.Way{Dir: t.TempDir()}).Renew(t.Context(), r); !errors.Is(err, signer.ErrUnavailable) {
		t.Error(err)
	}
	key.Certificates = nil
	if _, err := (dropfolder.Way{Dir: t.TempDir()}).Renew(t.Context(), r); !errors.Is(err, signer.ErrNoCertificate) {
		t.Error(err)
	}
}

// A renewer renews through the folder: it waits, survives a rejection, and proves the
// certificate.
func TestRenewer(t *testing.T) {
	dir := t.TempDir()
	_, key, ca := newRequest(t)
	chain := key.Certificates
	r := renew.New(renew.Config{Way: dropfolder.Way{Dir: dir}, StateFile: filepath.Join(t.TempDir(), "state"),
		Open: func(context.Context) (signer.Signer, error) {
			return signer.WithCertificates(signer.FromKey(key.Key), signer.Certificates{Chain: chain}), nil
		},
		Install: func(_ context.Context, _ *x509.Certificate, _ string, renewed []*x509.Certificate) error {
			chain = renewed
			return nil
		}})
	f, err := dropfolder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := make(map[string]bool)
	for _, answer := range []func(token string, csr *x509.CertificateRequest) error{
		func(token string, _ *x509.CertificateRequest) error { return f.Reject(token, "not today") },
		func(token string, _ *x509.CertificateRequest) error {
			return f.Issue(token, signertest.CertPEM(ca.Issue(t, signertest.NewKey(t, "p256"), nil)))
		},
		func(token string, _ *x509.CertificateRequest) error {
			return f.Issue(token, signertest.CertPEM(ca.Issue(t, key.Key, nil), ca.Cert))
		},
	} {
		if _, err := r.Renew(t.Context()); !errors.As(err, new(*renew.WaitError)) {
			t.Fatal(err)
		}
		pending, err := f.Pending()
		if err != nil || len(pending) != 1 || seen[pending[0]] {
			t.Fatalf("%q, %v", pending, err)
		}
		seen[pending[0]] = true
		if err := answer(pending[0], nil); err != nil {
			t.Fatal(err)
		}
		before := chain[0]
		switch _, err := r.Renew(t.Context()); len(seen) {
		case 1:
			if !errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), "not today") {
				t.Error(err)
			}
		case 2:
			if !errors.Is(err, renew.ErrUnfit) {
				t.Error(err)
			}
		default:
			if err != nil || chain[0].Equal(before) {
				t.Error(err)
			}
		}
	}
}

func FuzzAnswer(f *testing.F) {
	r, key, ca := newRequest(f)
	f.Add(signertest.CertPEM(ca.Issue(f, key.Key, nil)), false)
	f.Add([]byte("the certificate was revoked\n"), true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, rejected bool) {
		name := token + ".pem"
		if rejected {
			name = token + ".rejected"
		}
		write(t, dir, name, data)
		defer os.Remove(filepath.Join(dir, name))
		certs, err := (dropfolder.Way{Dir: dir}).Renew(t.Context(), r)
		switch {
		case (err == nil) != (len(certs) > 0):
			t.Errorf("%d certificates, %v", len(certs), err)
		case err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }):
			t.Errorf("%q", err)
		}
	})
}
