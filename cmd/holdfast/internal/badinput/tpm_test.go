//go:build linux

package badinput

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A tpmInput is a command line whose key is in a TPM: key.pem, in the folder
// and without a password, unless setup or own make another. {dir} and {tpm}
// stand for the folder and for the TPM's socket.
type tpmInput struct {
	badInput
	own   func(*tpmScene) // prepares a TPM of the case's own; nil: all share one
	tries int             // that the TPM counts meanwhile, with a TPM of the case's own
	runs  int             // 0: one
}

// tpms are what makes scenes with TPMs.
type tpms struct {
	program string
	shared  *tpmtest.TPM
	files   map[string][]byte // of keys in shared, with their certificates
}

// A tpmScene is a scene with a TPM.
type tpmScene struct {
	*scene
	tpm *tpmtest.TPM
}

const maxTries = 3 // swtpm's, before it locks

func newTPMs(t *testing.T, p *pki, base string) *tpms {
	signertest.Require(t, "swtpm", "swtpm")
	k := &tpms{program: filepath.Join(base, "holdfast"), shared: tpmtest.Start(t), files: make(map[string][]byte)}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", k.program, clitest.Package)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := &tpmScene{&scene{TB: t, pki: p, dir: filepath.Join(base, "fixture")}, k.shared}
	s.must(os.Mkdir(s.dir, 0o755))
	create("", keystore.P256, "")(s)
	s.must(os.Rename(s.path("key.pem"), s.path("tpm.pem")))
	s.must(os.Rename(s.path("cert.pem"), s.path("tpm-cert.pem")))
	create("", keystore.RSA2048, "")(s)
	s.must(os.Rename(s.path("key.pem"), s.path("rsa.pem")))
	s.must(os.Rename(s.path("cert.pem"), s.path("rsa-cert.pem")))
	create(testPassword, keystore.P256, "")(s)
	s.must(os.Rename(s.path("key.pem"), s.path("pin.pem")))
	s.must(os.Rename(s.path("cert.pem"), s.path("pin-cert.pem")))
	sealed, err := tpm.Seal(s.Context(), tpm.CreateConfig{Device: s.tpm.Path}, []byte(testPassword))
	s.must(err)
	s.write("sealed.pem", sealed)
	s.must(filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		k.files[d.Name()], err = os.ReadFile(path)
		return err
	}))
	return k
}

// The shared TPM is open to the user of badInput.nobody.
func (k *tpms) scene(t *testing.T, p *pki, dir string, c tpmInput) *tpmScene {
	s := &tpmScene{newScene(t, p, dir), k.shared}
	s.must(os.Rename(s.path("key.pem"), s.path("software.pem")))
	s.must(os.Rename(s.path("cert.pem"), s.path("other-cert.pem")))
	for name, data := range k.files {
		s.write(name, data)
	}
	s.must(os.Rename(s.path("tpm.pem"), s.path("key.pem")))
	s.must(os.Rename(s.path("tpm-cert.pem"), s.path("cert.pem")))
	s.must(os.Symlink(k.program, s.path("holdfast")))
	if c.own != nil {
		s.tpm = tpmtest.Start(t)
		c.own(s)
	}
	return s
}

func (s *tpmScene) fill(c tpmInput) tpmInput {
	place := strings.NewReplacer("{dir}", s.dir, "{tpm}", s.tpm.Path)
	fill := func(all []string) (out []string) {
		for _, v := range all {
			out = append(out, place.Replace(v))
		}
		return out
	}
	c.args, c.env = fill(c.args), fill(append([]string{"TPM_DEVICE={tpm}", "PIN=" + testPassword}, c.env...))
	c.culprit, c.hint = place.Replace(c.culprit), place.Replace(c.hint)
	return c
}

// converse talks to the TPM while nobody else does.
func (s *tpmScene) converse(talk func(transport.TPM) error) {
	s.Helper()
	t, err := linuxudstpm.Open(s.tpm.Path)
	s.must(err)
	s.must(errors.Join(talk(t), t.Close()))
}

// counted returns how many tries the TPM holds against who gives passwords.
func (s *tpmScene) counted() (n int) {
	s.Helper()
	s.converse(func(t transport.TPM) error {
		answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 1}.Execute(t)
		if err != nil {
			return err
		}
		p, err := answer.CapabilityData.Data.TPMProperties()
		if err == nil {
			n = int(p.TPMProperty[0].Value)
		}
		return err
	})
	return n
}

// left returns what is loaded in the TPM.
func (s *tpmScene) left() (all []tpm2.TPMHandle) {
	s.Helper()
	s.converse(func(t transport.TPM) error {
		for _, first := range []uint32{0x02000000, 0x03000000, 0x80000000} { // HMAC and policy sessions, objects
			answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute(t)
			if err != nil {
				return err
			}
			found, err := answer.CapabilityData.Data.Handles()
			if err != nil {
				return err
			}
			all = append(all, found.Handle...)
		}
		return nil
	})
	return all
}

// The preparations of TPMs.

// prepared takes several.
func prepared(each ...func(*tpmScene)) func(*tpmScene) {
	return func(s *tpmScene) {
		for _, f := range each {
			f(s)
		}
	}
}

func giving(password string) keystore.PINFunc {
	if password == "" {
		return nil
	}
	return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }
}

// create makes key.pem and cert.pem.
func create(password string, kind keystore.KeyType, pcrs string) func(*tpmScene) {
	return func(s *tpmScene) {
		cfg := tpm.CreateConfig{Device: s.tpm.Path, PIN: giving(password)}
		if pcrs != "" {
			var err error
			cfg.PCRs, err = tpm.ParsePCRs(pcrs)
			s.must(err)
		}
		data, err := tpm.Create(s.Context(), cfg, kind)
		s.must(err)
		s.keep(data, password)
	}
}

// keep writes a key file and a certificate for it.
func (s *tpmScene) keep(data []byte, password string) {
	k, err := tpm.Open(s.Context(), tpm.Config{PEM: data, Device: s.tpm.Path, PIN: giving(password)})
	s.must(err)
	defer k.Close()
	s.write("key.pem", data)
	s.write("cert.pem", signertest.CertPEM(s.ca.Issue(s, k, nil)))
}

// persist makes a key under a handle, and cert.pem.
func persist(reference string) func(*tpmScene) {
	return func(s *tpmScene) {
		ref, err := keystore.ParseRef(reference + ";" + keystore.FormatAttribute("device", s.tpm.Path))
		s.must(err)
		k, err := tpm.Backend{}.Generate(s.Context(), ref, keystore.KeySpec{Type: keystore.P256}, keystore.Call{})
		s.must(err)
		defer k.Close()
		s.write("cert.pem", signertest.CertPEM(s.ca.Issue(s, k, nil)))
	}
}

// persistPrimary puts the storage key of the owner hierarchy under a handle.
func persistPrimary(handle tpm2.TPMHandle) func(*tpmScene) {
	return func(s *tpmScene) {
		s.converse(func(t transport.TPM) error {
			p, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
			if err != nil {
				return err
			}
			_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: p.ObjectHandle, Name: p.Name}, PersistentHandle: handle}.Execute(t)
			_, flushErr := tpm2.FlushContext{FlushHandle: p.ObjectHandle}.Execute(t)
			return errors.Join(err, flushErr)
		})
	}
}

// wrong spends tries at a key that is not kept.
func wrong(tries int) func(*tpmScene) {
	return func(s *tpmScene) {
		data, err := tpm.Create(s.Context(), tpm.CreateConfig{Device: s.tpm.Path, PIN: giving(testPassword)}, keystore.P256)
		s.must(err)
		for range tries {
			k, err := tpm.Open(s.Context(), tpm.Config{PEM: data, Device: s.tpm.Path, PIN: giving(wrongPassword)})
			s.must(err)
			if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrPINIncorrect) {
				s.Fatalf("the TPM took a wrong password, or said %v", err)
			}
			s.must(k.Close())
		}
		if n := s.counted(); n != tries {
			s.Fatalf("the TPM counted %d of %d tries", n, tries)
		}
	}
}

// extend changes a PCR, as a machine does that starts other programs.
func extend(pcr tpm2.TPMHandle) func(*tpmScene) {
	return func(s *tpmScene) {
		s.converse(func(t transport.TPM) error {
			_, err := tpm2.PCRExtend{
				PCRHandle: tpm2.AuthHandle{Handle: pcr, Auth: tpm2.PasswordAuth(nil)},
				Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{1}, 32)}}},
			}.Execute(t)
			return err
		})
	}
}

// protect gives the owner hierarchy a password.
func protect(password string) func(*tpmScene) {
	return func(s *tpmScene) {
		s.converse(func(t transport.TPM) error {
			_, err := tpm2.HierarchyChangeAuth{
				AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
				NewAuth:    tpm2.TPM2BAuth{Buffer: []byte(password)},
			}.Execute(t)
			return err
		})
	}
}

// A tssKey is a TPMKey (draft-bottomley-tpm2-keys-00, section 3.1).
type tssKey struct {
	Type            asn1.ObjectIdentifier
	EmptyAuth       bool      `asn1:"optional,explicit,tag:0"`
	Policy          []tssStep `asn1:"optional,explicit,tag:1"`
	Parent          int64
	Public, Private []byte
}

type tssStep struct {
	Command    int    `asn1:"explicit,tag:0"`
	Parameters []byte `asn1:"explicit,tag:1"`
}

// changed rewrites a key file.
func changed(name string, change func(*tssKey)) func(*scene) {
	return func(s *scene) {
		data, err := os.ReadFile(s.path(name))
		s.must(err)
		block, rest := pem.Decode(data)
		var key tssKey
		if _, err := asn1.Unmarshal(block.Bytes, &key); err != nil {
			s.Fatal(err)
		}
		change(&key)
		block.Bytes, err = asn1.Marshal(key)
		s.must(err)
		s.write(name, append(pem.EncodeToMemory(block), rest...))
	}
}

// listening makes a socket in the folder that answers each connection.
func listening(name string, talk func(net.Conn)) func(*scene) {
	return func(s *scene) {
		dir, err := os.MkdirTemp("", "tpm") // a socket's path has at most 107 bytes
		s.must(err)
		s.Cleanup(func() { _ = os.RemoveAll(dir) })
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		s.must(err)
		s.Cleanup(func() { l.Close() })
		s.must(os.Symlink(filepath.Join(dir, "s"), s.path(name)))
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					talk(c)
				}()
			}
		}()
	}
}

// TestBadInputTPM runs the real program over swtpm.
func TestBadInputTPM(t *testing.T) {
	t.Parallel()
	forTPMs(t, badTPMCases, func(t *testing.T, program string, s *tpmScene, c tpmInput) {
		s.run(program, c.badInput).check(t, c.badInput, s.secrets(c.badInput))
	})
}

// TestGoodInputTPM has what stands next to the bad input and works.
func TestGoodInputTPM(t *testing.T) {
	t.Parallel()
	forTPMs(t, goodTPMCases, func(t *testing.T, program string, s *tpmScene, c tpmInput) {
		c.serve = answer(created)
		s.run(program, c.badInput).checkGood(t)
	})
}

func forTPMs(t *testing.T, list func() []tpmInput, check func(*testing.T, string, *tpmScene, tpmInput)) {
	base := t.TempDir()
	for _, dir := range []string{base, filepath.Dir(base)} {
		if err := os.Chmod(dir, 0o755); err != nil { // for badInput.nobody
			t.Fatal(err)
		}
	}
	p := newPKI(t)
	k := newTPMs(t, p, base)
	cases := list()
	slots := make(chan struct{}, badInputBound)
	start := time.Now()
	t.Run("cases", func(t *testing.T) {
		seen := make(map[string]bool)
		for i, c := range cases {
			if seen[c.name] {
				t.Errorf("two cases have the name %q", c.name)
			}
			seen[c.name] = true
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				s := k.scene(t, p, filepath.Join(base, strconv.Itoa(i)), c)
				c := s.fill(c)
				before := 0
				if c.own != nil {
					before = s.counted()
				}
				for range max(c.runs, 1) {
					check(t, k.program, s, c)
					c.setup = nil
				}
				if c.own == nil {
					return
				}
				if n := s.counted() - before; n != c.tries {
					t.Errorf("the TPM counted %d tries, want %d", n, c.tries)
				}
				if left := s.left(); len(left) > 0 {
					t.Errorf("left in the TPM: %x", left)
				}
			})
		}
	})
	s := &tpmScene{&scene{TB: t}, k.shared}
	if n, left := s.counted(), s.left(); n != 0 || len(left) > 0 {
		t.Errorf("the shared TPM counted %d tries and has %x", n, left)
	}
	t.Logf("%d cases in %v", len(cases), time.Since(start).Round(time.Second))
}
