package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// generate calls Generate as a Store does. It adds the device to rest.
func (m *maker) generate(rest string, kind keystore.KeyType, call keystore.Call) (keystore.Key, error) {
	m.Helper()
	ref := keystore.Ref{Scheme: "tpm", Rest: rest + ";" + keystore.FormatAttribute("device", m.emulator.Path)}
	k, err := Backend{}.Generate(m.Context(), ref, keystore.KeySpec{Type: kind}, call)
	if (k == nil) == (err == nil) {
		m.Fatalf("Generate returns %v and %v", k, err)
	}
	return k, err
}

// openAndSign opens the key of ref and signs with it.
func (m *maker) openAndSign(ref keystore.Ref, call keystore.Call) error {
	m.Helper()
	k, err := Backend{}.Open(m.Context(), ref, call)
	if err != nil {
		return err
	}
	defer k.Close()
	return m.sign(k)
}

func (m *maker) sign(k signer.Signer) error {
	digest := sha256.Sum256([]byte(message))
	sig, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return signMethod{hash: crypto.SHA256, opts: crypto.SHA256}.verify(k.Public(), sig)
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestGenerate creates key files and persistent keys, and opens them by the
// same reference without the attributes for creating.
func TestGenerate(t *testing.T) {
	m := newMaker(t, newTPM(t))
	m.persistentPrimary(authParent, srkTemplate, parentPassword)
	m.persistentPrimary(rsaParent, rsaSRKTemplate, "")
	dir := t.TempDir()
	secret := func(name, value string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyAuth := ";pin-source=" + secret("pin", keyPassword)
	parentAuth := ";parent-auth-source=" + secret("parent", parentPassword)
	for _, c := range []struct {
		name string
		kind keystore.KeyType
		open string // attributes that open the key; @ is its file
		make string // additional attributes that create the key
		bad  string // attributes that do not open the key; "": not tested
		want error
	}{
		{"P-256", keystore.P256, "path=@", "", "", nil},
		{"RSA-2048", keystore.RSA2048, "path=@", "", "", nil},
		{"P-384, persistent", keystore.P384, "handle=0x81010002", "", "", nil},
		{"P-256, persistent below the endorsement hierarchy", keystore.P256, "handle=0x81010003", ";parent=0x4000000b", "", nil},
		{"P-256, password", keystore.P256, "path=@" + keyAuth, "", "path=@", signer.ErrPINRequired},
		{"P-256, password as value", keystore.P256, "path=@;pin-value=" + keyPassword, "", "path=@;pin-value=other", signer.ErrPINIncorrect},
		{"P-256, password, persistent", keystore.P256, "handle=0x81010004" + keyAuth, "", "", nil},
		{"P-256, parent", keystore.P256, "path=@", ";parent=0x81000003", "", nil},
		{"P-256, parent, persistent", keystore.P256, "handle=0x81010005", ";parent=0x81000003", "", nil},
		{"P-256, parent with password", keystore.P256, "path=@" + parentAuth, ";parent=0x81000002", "path=@", signer.ErrPINRequired},
		{"P-256, parent with password, persistent", keystore.P256, "handle=0x81010006" + parentAuth, ";parent=0x81000002", "", nil},
		{"P-256, null", keystore.P256, "path=@", ";parent=0x40000007", "", nil},
		{"P-256, PCRs", keystore.P256, "path=@", ";pcrs=sha256:0,16+sha1:7", "", nil},
		{"P-256, PCRs and password", keystore.P256, "path=@" + keyAuth, ";pcrs=sha256:16", "path=@", signer.ErrPINRequired},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *m
			m.TB = t
			path := filepath.Join(t.TempDir(), "a;key 100%.pem")
			at := func(rest string) string {
				return strings.Replace(rest, "path=@", keystore.FormatAttribute("path", path), 1)
			}
			k, err := m.generate(at(c.open+c.make), c.kind, keystore.Call{})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.sign(k); err != nil {
				t.Error(err)
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			pasted, err := keystore.ParseRef(k.Ref().String())
			if err != nil || strings.Contains(pasted.Rest, "pin-value") {
				t.Fatalf("%s, error %v", pasted, err)
			}
			var typed keystore.Call
			if strings.Contains(c.open, "pin-value") {
				typed.PIN = optionalPIN(keyPassword)
			}
			if err := m.openAndSign(pasted, typed); err != nil {
				t.Errorf("%s: %v", pasted, err)
			}
			device := ";" + keystore.FormatAttribute("device", m.emulator.Path)
			if err := m.openAndSign(keystore.Ref{Scheme: "tpm", Rest: at(c.open) + device}, keystore.Call{}); err != nil {
				t.Error(err)
			}
			if c.make != "" {
				err := m.openAndSign(keystore.Ref{Scheme: "tpm", Rest: at(c.open+c.make) + device}, keystore.Call{})
				if !errors.As(err, new(*keystore.RefError)) {
					t.Errorf("opened with attributes for creating: %v, want a RefError", err)
				}
			}
			if c.bad != "" {
				err := m.openAndSign(keystore.Ref{Scheme: "tpm", Rest: at(c.bad) + device}, keystore.Call{})
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", c.bad, err, c.want)
				}
			}
			if strings.HasPrefix(c.open, "path=") {
				if got := files(t, filepath.Dir(path)); !slices.Equal(got, []string{filepath.Base(path)}) {
					t.Errorf("the folder contains %q", got)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if mode := info.Mode(); runtime.GOOS != "windows" && mode != 0o600 {
					t.Errorf("mode %v, want 0600", mode)
				}
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
}

// Generate opens the new key with the password that was chosen for it. The key
// asks again when it needs the password later.
func TestGenerateAsksOnce(t *testing.T) {
	m := newMaker(t, newTPM(t))
	for rest, pin := range map[string]string{
		"handle=0x81010002": keyPassword, "handle=0x81010003": "", "path=" + filepath.Join(t.TempDir(), "key.pem"): keyPassword,
	} {
		var answers [][]byte
		k, err := m.generate(rest, keystore.P256, keystore.Call{Options: keystore.Options{PIN: func(_ context.Context, p keystore.Prompt) ([]byte, error) {
			if !p.Optional {
				t.Errorf("%s: %+v", rest, p)
			}
			answers = append(answers, []byte(pin))
			return answers[len(answers)-1], nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.sign(k); err != nil || len(answers) != 1 {
			t.Errorf("%s: %d prompts, error %v", rest, len(answers), err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		if slices.ContainsFunc(answers, func(b []byte) bool { return string(b) == pin && pin != "" }) {
			t.Errorf("%s: the password was not cleared", rest)
		}
	}
}

// TestGenerateBoundToPCRs checks that a key with pcrs= does not sign after a
// PCR changed.
func TestGenerateBoundToPCRs(t *testing.T) {
	m := newMaker(t, newTPM(t))
	path := filepath.Join(t.TempDir(), "key.pem")
	m.extend(15) // PCRs 15 and 16 must differ
	k, err := m.generate("path="+path+";pcrs=sha256:16,15,16", keystore.P256, keystore.Call{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := m.sign(k); err != nil {
		t.Fatal(err)
	}
	// The TPM requires the policy even if the file does not contain it.
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"", "any"} {
		freed, err := Open(t.Context(), Config{PEM: withoutPolicy(t, file), Device: m.emulator.Path, PIN: optionalPIN(password)})
		if err != nil {
			t.Fatal(err)
		}
		defer freed.Close()
		if err := m.sign(freed); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("without its policy: %v, want ErrUnsupported", err)
		}
		if err := freed.Close(); err != nil {
			t.Error(err)
		}
	}
	m.extend(14) // not part of the policy
	if err := m.sign(k); err != nil {
		t.Fatal(err)
	}
	m.extend(16)
	if err := m.sign(k); !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
		t.Errorf("%v, want ErrUnavailable with a hint", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if left := m.loadedHandles(); len(left) > 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

// withoutPolicy removes the policy from a key file.
func withoutPolicy(tb testing.TB, file []byte) []byte {
	tb.Helper()
	block, _ := pem.Decode(file)
	var f tss2
	if _, err := asn1.Unmarshal(block.Bytes, &f); err != nil {
		tb.Fatal(err)
	}
	f.Policy = nil
	return f.pem(tb)
}

// TestGenerateDoesNotOverwrite checks that nothing is overwritten, and that
// nothing is left after an error.
func TestGenerateDoesNotOverwrite(t *testing.T) {
	m := newMaker(t, newTPM(t))
	for _, c := range []struct {
		name  string
		setup func(dir string) error // creates the obstacle
		path  string
		root  bool // also fails for root
		want  error
	}{
		{"file", func(dir string) error { return os.WriteFile(filepath.Join(dir, "key.pem"), []byte("keep"), 0o644) }, "key.pem", true, fs.ErrExist},
		{"folder", func(dir string) error { return os.Mkdir(filepath.Join(dir, "key.pem"), 0o700) }, "key.pem", true, fs.ErrExist},
		{"dangling link", func(dir string) error { return os.Symlink("none", filepath.Join(dir, "key.pem")) }, "key.pem", true, fs.ErrExist},
		{"no folder", func(string) error { return nil }, filepath.Join("none", "key.pem"), true, fs.ErrNotExist},
		{"file instead of a folder", func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600) }, filepath.Join("file", "key.pem"), true, nil},
		{"read-only folder", func(dir string) error { return os.Chmod(dir, 0o500) }, "key.pem", false, fs.ErrPermission},
		{"name too long", func(string) error { return nil }, strings.Repeat("k", 300), true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.root && os.Geteuid() == 0 {
				t.Skip("root can write everywhere")
			}
			m := *m
			m.TB = t
			dir := t.TempDir()
			if err := c.setup(dir); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			_, err := m.generate(keystore.FormatAttribute("path", filepath.Join(dir, c.path)), keystore.P256, keystore.Call{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			var pathErr *fs.PathError
			if errors.As(err, &pathErr) && pathErr.Path != filepath.Join(dir, c.path) {
				t.Errorf("%v names a different file", err)
			}
			if after := files(t, dir); !slices.Equal(before, after) {
				t.Errorf("the folder contains %q, before %q", after, before)
			}
			if data, err := os.ReadFile(filepath.Join(dir, c.path)); err == nil && !bytes.Equal(data, []byte("keep")) {
				t.Errorf("the file contains %q", data)
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
}

// TestWriteNewRaces creates the same file from eight goroutines: one succeeds.
func TestWriteNewRaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	done := make(chan error)
	for i := range 8 {
		go func() { done <- writeNew(path, bytes.Repeat([]byte{byte('a' + i)}, 1000)) }()
	}
	won := 0
	for range 8 {
		switch err := <-done; {
		case err == nil:
			won++
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d goroutines wrote the file", won)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != 1000 || len(bytes.Trim(data, string(data[:1]))) > 0 {
		t.Errorf("the file contains %q", data)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("the folder contains %q", got)
	}
}

// TestGenerateRefuses tests references and key types for which Generate returns
// an error. It never replaces a persistent object.
func TestGenerateRefuses(t *testing.T) {
	m := newMaker(t, newTPM(t))
	m.persistent(persistedKey, signingTemplate(keystore.P256), "")
	m.persistentPrimary(authParent, srkTemplate, parentPassword)
	before := run(m, tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(persistedKey)}.Execute).Name
	dir := t.TempDir()
	path := "path=" + filepath.Join(dir, "key.pem")
	wrong := filepath.Join(dir, "wrong")
	if err := os.WriteFile(wrong, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := func(err error) bool { return errors.As(err, new(*keystore.RefError)) }
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for _, c := range []struct {
		name, rest string
		kind       keystore.KeyType
		matches    func(error) bool
	}{
		{"handle in use", "handle=0x81010002", keystore.P256, is(fs.ErrExist)},
		{"handle of the platform", "handle=0x81800002", keystore.P256, bad},
		{"persistent under null", "handle=0x81010003;parent=0x40000007", keystore.P256, bad},
		{"persistent under the platform", "handle=0x81010003;parent=0x4000000c", keystore.P256, bad},
		{"RSA-4096", path, keystore.RSA4096, func(err error) bool { return errors.Is(err, errors.ErrUnsupported) && signer.Hint(err) != "" }},
		{"Ed25519", path, keystore.Ed25519, is(errors.ErrUnsupported)},
		{"no type", path, "", is(errors.ErrUnsupported)},
		{"path and handle", path + ";handle=0x81010003", keystore.P256, bad},
		{"neither", "parent=0x40000001", keystore.P256, bad},
		{"handle of a hierarchy", "handle=0x40000001", keystore.P256, bad},
		{"PCRs and handle", "handle=0x81010003;pcrs=sha256:0", keystore.P256, bad},
		{"no bank", path + ";pcrs=0,7", keystore.P256, bad},
		{"unknown bank", path + ";pcrs=md5:0", keystore.P256, bad},
		{"PCR 24", path + ";pcrs=sha256:24", keystore.P256, bad},
		{"bank twice", path + ";pcrs=sha256:0+sha256:1", keystore.P256, bad},
		{"no PCR", path + ";pcrs=sha256:", keystore.P256, bad},
		{"invalid parent", path + ";parent=owner", keystore.P256, bad},
		{"lockout hierarchy as parent", path + ";parent=0x4000000a", keystore.P256, bad},
		{"no such parent", path + ";parent=0x81000077", keystore.P256, is(signer.ErrNotFound)},
		{"parent is a signing key", path + ";parent=0x81010002", keystore.P256, is(errors.ErrUnsupported)},
		{"parent's password missing", path + ";parent=0x81000002", keystore.P256, is(signer.ErrPINRequired)},
		{"parent's password wrong", path + ";parent=0x81000002;parent-auth-source=" + wrong, keystore.P256, is(signer.ErrPINIncorrect)},
		{"password too long", path + ";pin-value=" + strings.Repeat("p", 33), keystore.P256, is(signer.ErrPINIncorrect)},
		{"no PIN file", path + ";pin-source=" + filepath.Join(dir, "none"), keystore.P256, is(signer.ErrPINRequired)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *m
			m.TB = t
			files0 := files(t, dir)
			_, err := m.generate(c.rest, c.kind, keystore.Call{})
			if !c.matches(err) {
				t.Errorf("%v", err)
			}
			t.Log(err)
			if got := files(t, dir); !slices.Equal(got, files0) {
				t.Errorf("the folder contains %q", got)
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
	if after := run(m, tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(persistedKey)}.Execute).Name; !bytes.Equal(after.Buffer, before.Buffer) {
		t.Error("the persistent object was replaced")
	}
}

// TestGenerateWithOwnerPassword creates persistent keys, which requires the
// password of the owner hierarchy.
func TestGenerateWithOwnerPassword(t *testing.T) {
	m := newMaker(t, newTPM(t))
	m.persistentPrimary(eccParent, srkTemplate, "")
	m.setAuth(owner, parentPassword)
	dir := t.TempDir()
	right, wrong := filepath.Join(dir, "right"), filepath.Join(dir, "wrong")
	for path, password := range map[string]string{right: parentPassword, wrong: "wrong"} {
		if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, rest string
		want       error
	}{
		{"given", "handle=0x81010002;parent-auth-source=" + right, nil},
		{"missing", "handle=0x81010003", signer.ErrPINRequired},
		{"wrong", "handle=0x81010003;parent-auth-source=" + wrong, signer.ErrPINIncorrect},
		// The reference cannot contain the owner password in this case.
		{"persistent parent", "handle=0x81010003;parent=0x81000001", signer.ErrPINRequired},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *m
			m.TB = t
			k, err := m.generate(c.rest, keystore.P256, keystore.Call{})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err != nil {
				var code Error
				if !errors.As(err, &code) {
					t.Errorf("%v does not wrap the code of the TPM", err)
				}
				t.Log(err)
			} else {
				if err := m.sign(k); err != nil {
					t.Error(err)
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
}

// TestList checks that List lists the persistent keys that can sign, and that
// the references open them.
func TestList(t *testing.T) {
	m := newMaker(t, newTPM(t))
	list := func(ref keystore.Ref, call keystore.Call) []keystore.Entry {
		t.Helper()
		entries, err := Backend{}.List(t.Context(), ref, call)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	named := keystore.Ref{Scheme: "tpm", Rest: keystore.FormatAttribute("device", m.emulator.Path)}
	if entries := list(named, keystore.Call{}); len(entries) != 0 {
		t.Errorf("a new TPM contains %v", entries)
	}
	restricted := signingTemplate(keystore.P256)
	onlyECDSA(tpm2.TPMAlgSHA256)(&restricted)
	restricted.ObjectAttributes.Restricted = true
	m.persistentPrimary(eccParent, srkTemplate, "")
	m.persistentPrimary(rsaParent, rsaSRKTemplate, "")
	m.persistent(0x81010001, restricted, "")
	m.persistent(0x81010002, signingTemplate(keystore.P256), "")
	m.persistent(0x81010003, signingTemplate(keystore.P384), keyPassword)
	m.persistent(0x81010004, signingTemplate(keystore.RSA2048), "")
	decrypt := signingTemplate(keystore.RSA2048)
	decrypt.ObjectAttributes.SignEncrypt, decrypt.ObjectAttributes.Decrypt = false, true
	m.persistent(0x81010005, decrypt, "")

	byVariable := keystore.Call{Options: keystore.Options{PIN: optionalPIN(keyPassword), LookupEnv: func(name string) (string, bool) { return m.emulator.Path, name == "TPM_DEVICE" }}}
	for _, c := range []struct {
		name string
		ref  keystore.Ref
		call keystore.Call
	}{
		{"device named", named, keystore.Call{Options: keystore.Options{PIN: optionalPIN(keyPassword)}}},
		{"device by variable", keystore.Ref{Scheme: "tpm"}, byVariable},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries := list(c.ref, c.call)
			if len(entries) != 4 {
				t.Fatalf("%d keys, want 4: %v", len(entries), entries)
			}
			for _, e := range entries {
				ref, err := keystore.ParseRef(e.Ref.String()) // as pasted
				if err != nil {
					t.Fatal(err)
				}
				call := c.call
				if !strings.Contains(ref.Rest, "81010003") {
					call.PIN = nil
				}
				k, err := Backend{}.Open(t.Context(), ref, call)
				if err != nil {
					t.Errorf("%s: %v", ref, err)
					continue
				}
				defer k.Close()
				if e.Kind != keystore.KeyEntry || !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(e.Public) {
					t.Errorf("%s is listed as a different key", ref)
				}
				if err := m.sign(k); err != nil {
					t.Errorf("%s: %v", ref, err)
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, rest := range []string{"path=key.pem", "device=", "x"} {
		if _, err := (Backend{}).List(t.Context(), keystore.Ref{Scheme: "tpm", Rest: rest}, keystore.Call{}); !errors.As(err, new(*keystore.RefError)) {
			t.Errorf("%s: %v, want a RefError", rest, err)
		}
	}
	for _, rest := range []string{"path=key.pem", "handle=0x81010001;device=/dev/tpm0"} {
		_, err := Backend{}.List(t.Context(), keystore.Ref{Scheme: "tpm", Rest: rest}, keystore.Call{})
		if err == nil || !strings.Contains(err.Error(), "names one key") || !strings.Contains(signer.Hint(err), "use tpm: or tpm:device=PATH") {
			t.Errorf("%s: %v, hint %q", rest, err, signer.Hint(err))
		}
	}
	if left := m.loadedHandles(); len(left) > 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

// The interfaces that a Store checks for.
var (
	_ keystore.Generator         = Backend{}
	_ keystore.Lister            = Backend{}
	_ keystore.Unsealer          = Backend{}
	_ keystore.PEMClaimer        = Backend{}
	_ keystore.CertificateReader = Backend{}
)

// If a persistent object cannot be read, the others are still listed.
func TestListWithErrors(t *testing.T) {
	m := newMaker(t, newTPM(t))
	for _, h := range []tpm2.TPMHandle{0x81010001, 0x81010002, 0x81010003} {
		m.persistent(h, signingTemplate(keystore.P256), "")
	}
	reads := 0
	b := &bus{intercept: func(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
		if codeOf(command) == tpm2.TPMCCReadPublic {
			if reads++; reads == 2 {
				return responseWithCode(tpm2.TPMRCFailure), nil
			}
		}
		return send(command)
	}}
	d, err := dialer(b.dial).open(t.Context(), m.emulator.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	entries, err := list(d, "")
	if len(entries) != 2 || !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), "0x81010002") {
		t.Errorf("%v, error %v", entries, err)
	}
}
