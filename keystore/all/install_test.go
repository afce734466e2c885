package all

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// newTexts returns the certificates of key to install, and a replacer that fills
// in what the names in braces stand for.
func newTexts(t *testing.T, key crypto.Signer) ([]*x509.Certificate, *strings.Replacer) {
	t.Helper()
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	other := signertest.NewKey(t, "p256")
	leaf := ca.Issue(t, key, nil)
	texts := map[string][]byte{
		"{old}": signertest.CertPEM(ca.Issue(t, key, nil), ca.Cert), "{new}": signertest.CertPEM(leaf, ca.Cert),
		"{foreign}": signertest.CertPEM(ca.Issue(t, other, nil)), "{otherkey}": signertest.KeyPEM(t, other),
		"{issuer}": signertest.CertPEM(ca.Cert), "{root}": signertest.CertPEM(ca.Root()),
		"{trusted}": pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(slices.Clone(ca.Root().Raw), 0x30, 0)}),
		"{der}":     ca.Issue(t, key, nil).Raw, "{attestation}": signertest.CertPEM(signertest.Attestation(t, key)),
	}
	if private, err := x509.MarshalPKCS8PrivateKey(key); err == nil {
		texts["{key}"] = signertest.KeyPEM(t, key)
		texts["{keyder}"] = private
		texts["{mislabeled}"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: private})
		pfx, err := pkcs12.Modern2023.WithIterations(2).Encode(key, leaf, nil, "x")
		if err != nil {
			t.Fatal(err)
		}
		texts["{pfx}"] = pfx
	}
	var pairs []string
	for name, text := range texts {
		pairs = append(pairs, name, string(text))
	}
	return append(ca.Chain(), ca.Root(), leaf), strings.NewReplacer(pairs...)
}

func writeFile(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func password(text string) keystore.Options {
	return keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(text), nil }}
}

var inFiles = []struct {
	name     string
	key      string // contents of app.pem
	file     string // Installation.File
	before   string // its contents; "": there is no such file
	replace  bool
	written  string // the name of the file that is written
	contents string // of that file
	err      error  // or the error
}{
	{"beside the key", "{key}", "", "", false, "app.crt", "{new}", nil},
	{"over an old certificate", "{key}", "cert.pem", "{old}", false, "cert.pem", "{new}", nil},
	{"over one in DER", "{key}", "cert.pem", "{der}", false, "cert.pem", "{new}", nil},
	{"over an empty file", "{key}", "cert.pem", " \n", false, "cert.pem", "{new}", nil},
	{"over issuers", "{key}", "cert.pem", "{issuer}{root}", false, "", "", fs.ErrExist},
	{"over issuers with Replace", "{key}", "cert.pem", "{issuer}{root}", true, "cert.pem", "{new}", nil},
	{"over a chain", "{key}", "cert.pem", "{issuer}{root}{old}", false, "cert.pem", "{new}", nil},
	{"over a script", "{key}", "cert.pem", "#!/bin/sh\ncat <<EOF\n{old}EOF\n", true, "", "", fs.ErrExist},
	{"over a text before", "{key}", "cert.pem", "mine\n{old}", true, "", "", fs.ErrExist},
	{"over a text behind", "{key}", "cert.pem", "{old}# a\nmine", true, "", "", fs.ErrExist},
	{"over a comment", "{key}", "cert.pem", "# mine\n{old}", false, "cert.pem", "{new}", nil},
	{"beside PKCS #12", "{pfx}", "", "", false, "app.crt", "{new}", nil},
	{"beside DER", "{keyder}", "", "", false, "app.crt", "{new}", nil},
	{"into the file of the key", "{key}{old}", "", "", false, "app.pem", "{key}{new}", nil},
	{"before the key", "# a\n{old}# b\n{key}# c\n", "", "", false, "app.pem", "# a\n{new}# b\n{key}# c\n", nil},
	{"around the key", "subject=x\n{old}Key Attributes\n{key}{root}", "", "", false, "app.pem", "subject=x\n{new}Key Attributes\n{key}", nil},
	{"beside another certificate", "{key}note\n{old}{foreign}", "", "", false, "app.pem", "{key}note\n{new}{foreign}", nil},
	{"beside a certificate with trust settings", "{key}{trusted}", "", "", false, "", "", errors.ErrUnsupported},
	{"over a bundle", "{key}", "cert.pem", "{old}{foreign}", false, "", "", fs.ErrExist},
	{"over a bundle with Replace", "{key}", "cert.pem", "{old}{foreign}", true, "cert.pem", "{new}", nil},
	{"over a certificate with trust settings", "{key}", "cert.pem", "{old}{trusted}", true, "", "", fs.ErrExist},
	{"into the file by its name", "{key}", "app.pem", "", false, "app.pem", "{key}{new}", nil},
	{"without a line end", "KEY", "app.pem", "", false, "app.pem", "{key}{new}", nil},
	{"into the file of one of two keys", "{key}{old}{otherkey}", "app.pem", "", false, "", "", errors.ErrUnsupported},
	{"into a damaged file", "-----BEGIN CERTIFICATE-----\nx\n{key}", "app.pem", "", false, "", "", nil},
	{"into PKCS #12", "{pfx}", "app.pem", "", false, "", "", errors.ErrUnsupported},
	{"into a file with a key labeled as a certificate", "{mislabeled}{old}", "", "", false, "", "", errors.ErrUnsupported},
	{"over the certificate of another key", "{key}", "cert.pem", "{foreign}{issuer}", false, "", "", fs.ErrExist},
	{"over it with Replace", "{key}", "cert.pem", "{foreign}{issuer}", true, "cert.pem", "{new}", nil},
	{"over another key", "{key}", "cert.pem", "{otherkey}", true, "", "", fs.ErrExist},
	{"over another key labeled as a certificate", "{key}", "cert.pem", "{mislabeled}", true, "", "", fs.ErrExist},
	{"over a text", "{key}", "cert.pem", "Dear diary", true, "", "", fs.ErrExist},
	{"over PKCS #12", "{key}", "cert.pem", "{pfx}", true, "", "", fs.ErrExist},
	{"over a damaged certificate", "{key}", "cert.pem", "-----BEGIN CERTIFICATE-----\nx\n", true, "", "", fs.ErrExist},
	{"into a missing folder", "{key}", "no/cert.pem", "", false, "", "", fs.ErrNotExist},
	{"the key is of another certificate", "{otherkey}", "", "", false, "", "", signer.ErrMismatch},
	{"no key", "{root}", "cert.pem", "", false, "", "", signer.ErrNotFound},
}

func TestInstallInFiles(t *testing.T) {
	store := New()
	certs, texts := newTexts(t, signertest.Key(t, "p256"))
	leaf, issuer := certs[2], certs[0]
	for _, test := range inFiles {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			key := filepath.Join(dir, "app.pem")
			text := texts.Replace(test.key)
			if test.key == "KEY" {
				text = strings.TrimSuffix(texts.Replace("{key}"), "\n")
			}
			writeFile(t, key, text, 0o640)
			in := keystore.Installation{Certificates: certs, Replace: test.replace}
			if test.file != "" {
				in.File = filepath.Join(dir, test.file)
			}
			if test.before != "" {
				writeFile(t, in.File, texts.Replace(test.before), 0o640)
			}
			done, err := store.Install(t.Context(), refOf(t, key), in, password("x"))
			if test.written == "" {
				if err == nil || test.err != nil && !errors.Is(err, test.err) || signer.Hint(err) == "" && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("error %v, hint %q, want %v", err, signer.Hint(err), test.err)
				}
				wantContents(t, key, text)
				if test.before != "" {
					wantContents(t, in.File, texts.Replace(test.before))
				}
				wantNames(t, dir, "app.pem", "cert.pem")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, test.written)
			wantContents(t, path, texts.Replace(test.contents))
			mode := fs.FileMode(0o640)
			if test.before == "" && path != key {
				mode = 0o644
			}
			if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
				t.Errorf("mode %v, want %v", info.Mode().Perm(), mode)
			}
			if len(done.Chain) != 2 || !done.Chain[0].Equal(leaf) || !done.Chain[1].Equal(issuer) || done.Certificate != refOf(t, path) {
				t.Errorf("%+v", done)
			}
			wantNames(t, dir, "app.pem", test.written)
			s, err := store.OpenIdentity(t.Context(), keystore.Identity{Key: refOf(t, key), Certificate: done.Certificate}, password("x"))
			if err != nil {
				t.Fatal(err)
			}
			if c := s.Chain(); len(c) != 2 || !c[0].Equal(leaf) {
				t.Errorf("chain of %d certificates", len(c))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func wantContents(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is\n%s\nwant\n%s\nerror %v", path, got, want, err)
	}
}

// wantNames fails if the folder contains other files.
func wantNames(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			t.Errorf("the folder contains %s", e.Name())
		}
	}
}

// A certificate that is not valid yet does not take the place of another one.
func TestInstallBeforeItIsValid(t *testing.T) {
	store := New()
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root")
	early := ca.Issue(t, key, func(c *x509.Certificate) {
		c.NotBefore = time.Now().Add(72 * time.Hour)
		c.NotAfter = c.NotBefore.Add(time.Hour)
	})
	soon := ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	now := signertest.CertPEM(ca.Issue(t, key, nil))
	for name, test := range map[string]struct {
		contents []byte // of cert.pem; nil: there is none
		c        *x509.Certificate
		ok       bool
	}{
		"no certificate": {nil, early, true}, "an empty file": {[]byte("\n"), early, true}, "another certificate": {now, early, false}, "in a minute": {now, soon, true},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "app.pem"), string(signertest.KeyPEM(t, key)), 0o600)
		file := filepath.Join(dir, "cert.pem")
		if test.contents != nil {
			writeFile(t, file, string(test.contents), 0o600)
		}
		_, err := store.Install(t.Context(), refOf(t, filepath.Join(dir, "app.pem")), keystore.Installation{Certificates: []*x509.Certificate{test.c}, File: file, Replace: true}, keystore.Options{})
		if (err == nil) != test.ok || err != nil && (signer.Hint(err) == "" || !strings.Contains(err.Error(), "is not valid before")) {
			t.Errorf("%s: %v", name, err)
		}
		if !test.ok {
			wantContents(t, file, string(test.contents))
		}
	}
}

// A key without a file needs Installation.File.
func TestInstallWithoutPlace(t *testing.T) {
	store := New()
	key := signertest.Key(t, "p256")
	certs, texts := newTexts(t, key)
	opts := keystore.Options{
		LookupEnv: func(string) (string, bool) { return texts.Replace("{key}"), true },
		Stdin:     strings.NewReader(texts.Replace("{key}")),
	}
	for _, ref := range []string{"env:KEY", "-"} {
		_, err := store.Install(t.Context(), refOf(t, ref), keystore.Installation{Certificates: certs}, opts)
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(signer.Hint(err), "Installation.File") {
			t.Errorf("%s: error %v, hint %q", ref, err, signer.Hint(err))
		}
	}
	path := filepath.Join(t.TempDir(), "cert.pem")
	if _, err := store.Install(t.Context(), refOf(t, "env:KEY"), keystore.Installation{Certificates: certs, File: path}, opts); err != nil {
		t.Error(err)
	}
	wantContents(t, path, texts.Replace("{new}"))
}

// Certificates that would never be used are refused before anything is written.
func TestInstallRefusesCertificates(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root")
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	writeFile(t, path, string(signertest.KeyPEM(t, key)), 0o600)
	expired := ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for name, test := range map[string]struct {
		certs []*x509.Certificate
		want  error
	}{
		"none": {nil, signer.ErrNoCertificate}, "an attestation": {[]*x509.Certificate{signertest.Attestation(t, key)}, signer.ErrNoCertificate},
		"an issuer": {[]*x509.Certificate{ca.Cert}, signer.ErrMismatch}, "expired": {[]*x509.Certificate{expired}, nil},
	} {
		_, err := New().Install(t.Context(), refOf(t, path), keystore.Installation{Certificates: test.certs}, keystore.Options{})
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	wantNames(t, dir, "key.pem")
}

// A symbolic link stays, and its target is replaced.
func TestInstallFollowsLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("users of Windows rarely may create symbolic links")
	}
	certs, texts := newTexts(t, signertest.Key(t, "p256"))
	dir := t.TempDir()
	key, link, target := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "v1", "cert.pem")
	writeFile(t, key, texts.Replace("{key}"), 0o600)
	if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("v1", "cert.pem"), link); err != nil {
		t.Skip(err)
	}
	in := keystore.Installation{Certificates: certs, File: link}
	if _, err := New().Install(t.Context(), refOf(t, key), in, keystore.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("link to nothing: error %v", err)
	}
	writeFile(t, target, texts.Replace("{old}"), 0o600)
	if _, err := New().Install(t.Context(), refOf(t, key), in, keystore.Options{}); err != nil {
		t.Fatal(err)
	}
	wantContents(t, target, texts.Replace("{new}"))
	if to, err := os.Readlink(link); err != nil || to != filepath.Join("v1", "cert.pem") {
		t.Errorf("the link is %q, %v", to, err)
	}
	wantNames(t, filepath.Dir(target), "cert.pem")
}

// Several writers do not hinder each other, and the temporary files of killed ones
// are removed.
func TestInstallTogether(t *testing.T) {
	certs, texts := newTexts(t, signertest.Key(t, "p256"))
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pem")
	writeFile(t, key, texts.Replace("{key}"), 0o600)
	for _, name := range []string{"key.crt.holdfast.0123.tmp", "key.crt.holdfast.4567.tmp"} {
		writeFile(t, filepath.Join(dir, name), "left", 0o600)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := New().Install(t.Context(), refOf(t, key), keystore.Installation{Certificates: certs}, keystore.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantContents(t, filepath.Join(dir, "key.crt"), texts.Replace("{new}"))
	wantNames(t, dir, "key.pem", "key.crt")
}

// The certificates of a TPM key go beside its file, or into it; a persistent key
// needs a file.
func TestInstallForTPM(t *testing.T) {
	signertest.Require(t, "swtpm", "swtpm")
	emulator := tpmtest.Start(t)
	store := New()
	dir := t.TempDir()
	opts := keystore.Options{LookupEnv: func(name string) (string, bool) { return emulator.Path, name == "TPM_DEVICE" }}
	path := filepath.Join(dir, "app.pem")
	for _, ref := range []string{"tpm:path=" + path, "tpm:handle=0x81010002"} {
		key, err := tpm.Backend{}.Generate(t.Context(), refOf(t, ref), keystore.KeySpec{Type: keystore.P256}, keystore.Call{Options: opts})
		if err != nil {
			t.Fatal(err)
		}
		certs, texts := newTexts(t, key)
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
		if ref != "tpm:path="+path {
			if _, err := store.Install(t.Context(), refOf(t, ref), keystore.Installation{Certificates: certs}, opts); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("persistent key: error %v", err)
			}
			in := keystore.Installation{Certificates: certs, File: filepath.Join(dir, "cert.pem")}
			if _, err := store.Install(t.Context(), refOf(t, ref), in, opts); err != nil {
				t.Error(err)
			}
			wantContents(t, in.File, texts.Replace("{new}"))
			continue
		}
		private, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ ref, file, written, contents string }{
			{ref, "", "app.crt", "{new}"},
			{path, "", "app.crt", "{new}"},
			{ref, path, "app.pem", string(private) + "{new}"},
			{path, "", "app.pem", string(private) + "{new}"}, // because it has certificates
		} {
			done, err := store.Install(t.Context(), refOf(t, step.ref), keystore.Installation{Certificates: certs, File: step.file}, opts)
			if err != nil {
				t.Fatal(err)
			}
			wantContents(t, filepath.Join(dir, step.written), texts.Replace(step.contents))
			s, err := store.OpenIdentity(t.Context(), keystore.Identity{Key: refOf(t, ref), Certificate: done.Certificate}, opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// The attestation certificate of a YubiKey is never the identity, and it is listed
// as what it is.
func TestAttestationInFile(t *testing.T) {
	store := New()
	_, texts := newTexts(t, signertest.Key(t, "p256"))
	path := filepath.Join(t.TempDir(), "all.pem")
	writeFile(t, path, texts.Replace("{key}{attestation}{old}"), 0o600)
	s, err := store.OpenIdentity(t.Context(), keystore.Identity{Key: refOf(t, path)}, keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if signer.IsAttestation(s.Chain()[0]) {
		t.Error("the attestation certificate is the identity")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	entries, err := store.List(t.Context(), refOf(t, path), keystore.Options{})
	if err != nil || len(entries) != 4 || entries[1].Kind != keystore.AttestationEntry || entries[2].Kind != keystore.CertificateEntry {
		t.Errorf("%+v, error %v", entries, err)
	}
	writeFile(t, path, texts.Replace("{key}{attestation}"), 0o600)
	if _, err := store.OpenIdentity(t.Context(), keystore.Identity{Key: refOf(t, path)}, keystore.Options{}); !errors.Is(err, signer.ErrNoCertificate) || errors.Is(err, signer.ErrMismatch) {
		t.Errorf("only an attestation certificate: error %v", err)
	}
}
