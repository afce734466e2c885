package tpm

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/signer"
)

var pcr16 = []PCRs{{Hash: crypto.SHA256, Numbers: []uint{16}}}

// TestSeal seals and unseals with all kinds of parents and options.
func TestSeal(t *testing.T) {
	m := newMaker(t, newTPM(t))
	m.persistentPrimary(authParent, srkTemplate, parentPassword)
	m.persistentPrimary(rsaParent, rsaSRKTemplate, "")
	long := strings.Repeat("s", maxSealed)
	for _, c := range []struct {
		name          string
		parent        Handle
		secret        string
		key, above    string
		pcrs          []PCRs
		ownerPassword bool
	}{
		{name: "owner", secret: "s"},
		{name: "128 bytes", secret: long},
		{name: "password", secret: "two\nlines\x00\xff", key: keyPassword},
		{name: "endorsement", parent: EndorsementHierarchy, secret: long},
		{name: "null", parent: NullHierarchy, secret: long},
		{name: "RSA parent", parent: rsaParent, secret: long, key: keyPassword},
		{name: "parent with password", parent: authParent, secret: "s", above: parentPassword},
		{name: "password, parent with password", parent: authParent, secret: "s", key: keyPassword, above: parentPassword},
		{name: "PCRs", secret: "s", pcrs: pcr16},
		{name: "PCRs and password", secret: "s", pcrs: pcr16, key: keyPassword},
		{name: "PCRs, parent with password", parent: authParent, secret: "s", pcrs: pcr16, above: parentPassword},
		{name: "owner with password", secret: "s", above: parentPassword, ownerPassword: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *m
			m.TB = t
			if c.ownerPassword {
				m.setAuth(owner, c.above)
				defer m.setAuth(entity{handle: tpm2.TPMRHOwner, password: c.above}, "")
			}
			secret := []byte(c.secret)
			file, err := Seal(t.Context(), CreateConfig{Device: m.emulator.Path, Parent: c.parent, PIN: optionalPIN(c.key), ParentPIN: optionalPIN(c.above), PCRs: c.pcrs}, secret)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := parseKeyPEM(file); err != nil || !f.kind.Equal(oidSealed) {
				t.Errorf("the file has the wrong type: %v, error %v", f, err)
			}
			if string(secret) != c.secret {
				t.Error("Seal changed the secret")
			}
			cfg := Config{PEM: file, Device: m.emulator.Path, PIN: optionalPIN(c.key), ParentPIN: optionalPIN(c.above)}
			for range 2 {
				got, err := Unseal(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != c.secret {
					t.Errorf("%q, want %q", got, c.secret)
				}
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
			if c.pcrs == nil {
				return
			}
			freed := cfg
			freed.PEM = withoutPolicy(t, file)
			if got, err := Unseal(t.Context(), freed); !errors.Is(err, errors.ErrUnsupported) || got != nil {
				t.Errorf("without its policy: %q, %v, want ErrUnsupported", got, err)
			}
			m.extend(16)
			if got, err := Unseal(t.Context(), cfg); !errors.Is(err, signer.ErrUnavailable) || got != nil {
				t.Errorf("after the PCR changed: %q, %v, want ErrUnavailable", got, err)
			}
			if left := m.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
}

// A recorder records all commands and responses.
type recorder struct {
	transport.TPM
	seen *bytes.Buffer
}

func (r recorder) Send(command []byte) ([]byte, error) {
	response, err := r.TPM.Send(command)
	r.seen.Write(command)
	r.seen.Write(response)
	return response, err
}

// TestSealBusTraffic searches the bus traffic of sealing and unsealing for the
// secret and the passwords.
func TestSealBusTraffic(t *testing.T) {
	m := newMaker(t, newTPM(t))
	m.persistentPrimary(authParent, srkTemplate, parentPassword)
	const secret = "sealed-secret-1234"
	for _, c := range []struct {
		name       string
		parent     Handle
		key, above string
		pcrs       []PCRs
	}{
		{name: "plain"},
		{name: "password", key: keyPassword},
		{name: "PCRs", pcrs: pcr16},
		{name: "PCRs and password", key: keyPassword, pcrs: pcr16},
		{name: "parent with password", parent: authParent, key: keyPassword, above: parentPassword},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen bytes.Buffer
			recorded := func(ctx context.Context, path string) (*device, error) {
				d, err := dial(ctx, path)
				if err == nil {
					d.TPM = recorder{d.TPM, &seen}
				}
				return d, err
			}
			file, err := seal(t.Context(), CreateConfig{Device: m.emulator.Path, Parent: c.parent, PIN: optionalPIN(c.key), ParentPIN: optionalPIN(c.above), PCRs: c.pcrs}, []byte(secret), recorded)
			if err != nil {
				t.Fatal(err)
			}
			got, err := unseal(t.Context(), Config{PEM: file, Device: m.emulator.Path, PIN: optionalPIN(c.key), ParentPIN: optionalPIN(c.above)}, recorded)
			if err != nil || string(got) != secret {
				t.Fatalf("%q, %v", got, err)
			}
			if seen.Len() < 1000 {
				t.Errorf("recorded only %d bytes", seen.Len())
			}
			for _, word := range []string{secret, keyPassword, parentPassword} {
				if bytes.Contains(seen.Bytes(), []byte(word)) {
					t.Errorf("%q was sent in clear text", word)
				}
			}
		})
	}
}

func TestSealRefuses(t *testing.T) {
	m := newMaker(t, newTPM(t))
	for _, n := range []int{0, maxSealed + 1} {
		if _, err := Seal(t.Context(), CreateConfig{Device: m.emulator.Path}, make([]byte, n)); err == nil {
			t.Errorf("%d bytes were sealed", n)
		}
	}
	m.persistent(persistedKey, signingTemplate("p256"), "")
	if _, err := Unseal(t.Context(), Config{Handle: persistedKey, Device: m.emulator.Path}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("by handle: %v, want ErrUnsupported", err)
	}
	file, err := Seal(t.Context(), CreateConfig{Device: m.emulator.Path, PIN: optionalPIN(keyPassword)}, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"no password", "", signer.ErrPINRequired},
		{"wrong password", "wrong", signer.ErrPINIncorrect},
	} {
		secret, err := Unseal(t.Context(), Config{PEM: file, Device: m.emulator.Path, PIN: optionalPIN(c.password)})
		if !errors.Is(err, c.want) || secret != nil {
			t.Errorf("%s: %q, %v, want %v", c.name, secret, err, c.want)
		}
	}
}

// TestInteropSealed seals with Holdfast and unseals with tpm2-tools, and vice
// versa.
func TestInteropSealed(t *testing.T) {
	s := newInterop(t)
	s.persistentPrimary(eccParent, srkTemplate, "")
	const secret = "sealed-1234"
	s.write("secret", []byte(secret))
	s.run("tpm2_createpolicy", "-Q", "--policy-pcr", "-l", "sha256:16", "-L", "pcr.policy")
	s.run("tpm2_startauthsession", "-Q", "-S", "trial.ctx")
	s.run("tpm2_policypcr", "-Q", "-S", "trial.ctx", "-l", "sha256:16")
	s.run("tpm2_policyauthvalue", "-Q", "-S", "trial.ctx", "-L", "both.policy")
	s.run("tpm2_flushcontext", "-Q", "trial.ctx")
	s.flushAll()

	selection := tpm2.Marshal(tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{selectPCRs(tpm2.TPMAlgSHA256, []uint{16})}})
	byPCRs := tss2Policy{int64(tpm2.TPMCCPolicyPCR), append([]byte{0, 0}, selection...)}
	byPassword := tss2Policy{int64(tpm2.TPMCCPolicyAuthValue), []byte{}}
	for _, c := range []struct {
		name     string
		password string
		pcrs     []PCRs
		unseal   []string // options of tpm2_unseal
		create   []string // options of tpm2_create
		policy   []tss2Policy
	}{
		{name: "plain"},
		{name: "password", password: keyPassword, unseal: []string{"-p", keyPassword}, create: []string{"-p", keyPassword}},
		{name: "PCRs", pcrs: pcr16, unseal: []string{"-p", "pcr:sha256:16"},
			create: []string{"-L", "pcr.policy", "-a", "fixedtpm|fixedparent"}, policy: []tss2Policy{byPCRs}},
		{name: "PCRs and password", password: keyPassword, pcrs: pcr16, unseal: []string{"-p", "session:policy.ctx+" + keyPassword},
			create: []string{"-p", keyPassword, "-L", "both.policy", "-a", "fixedtpm|fixedparent"}, policy: []tss2Policy{byPCRs, byPassword}},
		// The TPM does not require the password, but uses it for encryption.
		{name: "PCRs, and a password that the policy does not require", pcrs: pcr16, unseal: []string{"-p", "pcr:sha256:16"},
			create: []string{"-p", keyPassword, "-L", "pcr.policy", "-a", "fixedtpm|fixedparent"}, policy: []tss2Policy{byPCRs}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.forTest(t)
			file, err := Seal(t.Context(), CreateConfig{Device: s.emulator.Path, Parent: eccParent, PIN: optionalPIN(c.password), PCRs: c.pcrs}, []byte(secret))
			if err != nil {
				t.Fatal(err)
			}
			s.split(file)
			s.run("tpm2_load", "-Q", "-C", "0x81000001", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx")
			s.flushAll()
			if strings.Contains(strings.Join(c.unseal, " "), "session:") {
				s.run("tpm2_startauthsession", "-Q", "--policy-session", "-S", "policy.ctx")
				s.run("tpm2_policypcr", "-Q", "-S", "policy.ctx", "-l", "sha256:16")
				s.run("tpm2_policyauthvalue", "-Q", "-S", "policy.ctx")
			}
			s.run("tpm2_unseal", slices.Concat([]string{"-Q", "-c", "key.ctx", "-o", "unsealed"}, c.unseal)...)
			if got := s.read("unsealed"); string(got) != secret {
				t.Errorf("unsealed by tpm2_unseal: %q, want %q", got, secret)
			}
			s.flushAll()

			s.run("tpm2_create", slices.Concat([]string{"-Q", "-C", "0x81000001", "-i", "secret", "-u", "their.pub", "-r", "their.priv"}, c.create)...)
			s.flushAll()
			f := tss2{
				Type: oidSealed, EmptyAuth: c.password == "", Policy: c.policy,
				Parent: int64(eccParent), Public: s.read("their.pub"), Private: s.read("their.priv"),
			}
			got, err := Unseal(t.Context(), Config{PEM: f.pem(t), Device: s.emulator.Path, PIN: optionalPIN(c.password)})
			if err != nil || string(got) != secret {
				t.Errorf("unsealed by Holdfast: %q, %v, want %q", got, err, secret)
			}
			if left := s.loadedHandles(); len(left) > 0 {
				t.Errorf("left in the TPM: %x", left)
			}
		})
	}
	t.Run("tpm2_encodeobject", func(t *testing.T) {
		s := s.forTest(t)
		for _, password := range []string{"", keyPassword} {
			create := []string{"-Q", "-C", "0x81000001", "-i", "secret", "-u", "their.pub", "-r", "their.priv"}
			encode := []string{"-Q", "-C", "0x81000001", "-u", "their.pub", "-r", "their.priv", "-o", "their.pem"}
			if password != "" {
				create, encode = append(create, "-p", password), append(encode, "-p")
			}
			s.run("tpm2_create", create...)
			s.run("tpm2_encodeobject", encode...)
			s.flushAll()
			// tpm2_encodeobject writes the type of a loadable key and the
			// inverse of emptyAuth.
			cfg := sharedKey{cfg: Config{PEM: s.read("their.pem"), Device: s.emulator.Path}}.noPassword().cfg
			if password != "" {
				cfg.PIN = optionalPIN(password)
			}
			if got, err := Unseal(t.Context(), cfg); err != nil || !bytes.Equal(got, []byte(secret)) {
				t.Errorf("password %q: %q, %v, want %q", password, got, err, secret)
			}
		}
	})
}
