package interop

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var mldsaSets = []string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}

// A workshop is a folder in which OpenSSL makes keys and certificates.
type workshop struct {
	*testing.T
	openssl, dir string
}

func newWorkshop(t *testing.T) workshop {
	return workshop{t, signertest.OpenSSL35(t), t.TempDir()}
}

func (w workshop) run(args ...string) {
	w.Helper()
	cmd := exec.Command(w.openssl, args...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (w workshop) path(name string) string { return filepath.Join(w.dir, name) }

func (w workshop) write(name string, parts ...string) {
	w.Helper()
	var all []byte
	for _, part := range parts {
		data, err := os.ReadFile(w.path(part))
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, data...)
	}
	if err := os.WriteFile(w.path(name), all, 0o600); err != nil {
		w.Fatal(err)
	}
}

// key makes NAME-key.pem of an algorithm, which further arguments may follow.
func (w workshop) key(name string, algorithm ...string) {
	w.Helper()
	w.run(append([]string{"genpkey", "-out", name + "-key.pem", "-algorithm"}, algorithm...)...)
}

// certify issues NAME.pem for NAME-key.pem.
func (w workshop) certify(issuer, name string, isCA bool) {
	w.Helper()
	constraints, usage := "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"
	if isCA {
		constraints, usage = "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"
	}
	args := []string{"req", "-x509", "-new", "-config", "", "-days", "1", "-key", name + "-key.pem", "-out", name + ".pem", "-subj", "/CN=" + name, "-addext", constraints, "-addext", usage}
	if issuer != "" {
		args = append(args, "-CA", issuer+".pem", "-CAkey", issuer+"-key.pem")
	}
	w.run(args...)
}

// credentials gets credentials from an emulator with a trust anchor in a file, and
// returns the event of the session.
func (w workshop) credentials(anchor string, flags ...string) (event sessionEvent) {
	w.Helper()
	var events clitest.LockedBuffer
	s, err := emulator.New(emulator.Config{Events: &events, TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{w.path(anchor)}}}})
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	cmd := exec.Command("holdfast", append(append([]string{"credential-process"}, emulatorFlags(s, server.URL)...), flags...)...)
	cmd.Dir = w.dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var got struct{ AccessKeyId string }
	if err != nil || stderr.Len() > 0 || json.Unmarshal(out, &got) != nil || got.AccessKeyId == "" {
		w.Fatalf("%q: %v: %s%s\n%s", flags, err, out, &stderr, &events)
	}
	first, _, _ := strings.Cut(events.String(), "\n")
	if err := json.Unmarshal([]byte(first), &event); err != nil {
		w.Fatal(err)
	}
	return event
}

func emulatorFlags(s *emulator.Server, url string) []string {
	return []string{"--endpoint", url, "--trust-anchor-arn", s.TrustAnchorARNs()[0], "--profile-arn", s.ProfileARNs()[0], "--role-arn", s.RoleARNs()[0]}
}

type sessionEvent struct {
	EventName         string
	RequestParameters struct{ SerialNumber, Subject, Issuer string }
}

// Keys of each set in each form, encrypted keys, intermediate certificates and PKCS
// #12, all by OpenSSL, get credentials.
func TestMLDSACredentials(t *testing.T) {
	t.Parallel()
	forms := []string{"seed-only", "priv-only", "seed-priv"}
	files := []string{"--certificate", "cert.pem", "--private-key", "key.pem"}
	for i, set := range mldsaSets {
		for j, form := range forms {
			t.Run(set+" "+form, func(t *testing.T) {
				t.Parallel()
				w := newWorkshop(t)
				signertest.IssueMLDSA(t, w.dir, set, form)
				event := w.credentials("root.pem", files...)
				if p := event.RequestParameters; p.SerialNumber != clitest.Serial(t, w.path("cert.pem")) || p.Subject != "CN=client" || p.Issuer != "CN=root" {
					t.Errorf("event %+v", event)
				}
				if i != j {
					return
				}
				if err := os.WriteFile(w.path("pin"), []byte("open\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				w.run("pkcs8", "-topk8", "-provparam", "ml-dsa.output_formats="+form, "-in", "key.pem", "-passout", "file:pin", "-out", "locked.pem")
				w.credentials("root.pem", "--certificate", "cert.pem", "--private-key", "locked.pem", "--pin-source", "file:pin")
				w.run("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-passout", "file:pin", "-out", "app.p12")
				w.credentials("root.pem", "--certificate", "app.p12", "--pin-source", "file:pin")

				w.key("between", mldsaSets[(i+1)%len(mldsaSets)])
				w.certify("root", "between", true)
				w.key("app", set, "-provparam", "ml-dsa.output_formats="+form)
				w.certify("between", "app", false)
				w.credentials("root.pem", "--certificate", "app.pem", "--private-key", "app-key.pem", "--intermediates", "between.pem")
				w.write("both.pem", "app-key.pem", "app.pem", "between.pem")
				w.credentials("root.pem", "--certificate", "both.pem")
				w.credentials("between.pem", "--certificate", "both.pem")
			})
		}
	}
}

// An ECDSA CA issues an ML-DSA certificate, and an ML-DSA CA an ECDSA certificate,
// directly and below a root of the other kind.
func TestMLDSAMixedCAs(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	ec := []string{"EC", "-pkeyopt", "ec_paramgen_curve:P-256"}
	pq := []string{"ML-DSA-65"}
	for _, kind := range []struct {
		name       string
		ca, client []string
	}{{"ec", ec, pq}, {"pq", pq, ec}} {
		root, between, app, below := kind.name+"-root", kind.name+"-between", kind.name+"-app", kind.name+"-below"
		w.key(root, kind.ca...)
		w.certify("", root, true)
		w.key(app, kind.client...)
		w.certify(root, app, false)
		w.credentials(root+".pem", "--certificate", app+".pem", "--private-key", app+"-key.pem")
		w.key(between, kind.client...)
		w.certify(root, between, true)
		w.key(below, kind.ca...)
		w.certify(between, below, false)
		w.credentials(root+".pem", "--certificate", below+".pem", "--private-key", below+"-key.pem", "--intermediates", between+".pem")
	}
}

// serve and update use a replaced key with its certificate, also one of another kind,
// and renew the credentials with it.
func TestMLDSAReplacedKey(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.key("ec-root", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	w.certify("", "ec-root", true)
	w.key("pq-root", "ML-DSA-87")
	w.certify("", "pq-root", true)
	w.write("anchor.pem", "ec-root.pem", "pq-root.pem")
	for name, kind := range map[string]struct {
		issuer    string
		algorithm []string
	}{
		"first": {"ec-root", []string{"EC", "-pkeyopt", "ec_paramgen_curve:P-256"}}, "second": {"pq-root", []string{"ML-DSA-44"}},
		"third": {"pq-root", []string{"ML-DSA-65", "-provparam", "ml-dsa.output_formats=priv-only"}},
	} {
		w.key(name, kind.algorithm...)
		w.certify(kind.issuer, name, false)
	}
	events := new(clitest.LockedBuffer)
	s, err := emulator.New(emulator.Config{Events: events, Faults: emulator.Faults{SessionLifetime: 4 * time.Second},
		TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{w.path("anchor.pem")}}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	for _, command := range []string{"serve", "update"} {
		t.Run(command, func(t *testing.T) {
			w := workshop{t, w.openssl, w.dir}
			use := func(name string) {
				w.write("cert.pem", name+".pem")
				w.write("key.pem", name+"-key.pem")
			}
			use("first")
			args := append(emulatorFlags(s, server.URL), "--certificate", "cert.pem", "--private-key", "key.pem")
			if command == "serve" {
				clitest.StartServe(t, w.dir, nil, args...)
			} else {
				startUpdate(t, w.dir, args...)
			}
			for i, name := range []string{"first", "second", "third"} {
				if i > 0 { // the command may be reading the first key for the first time
					use(name)
				}
				begin := len(events.String())
				clitest.Eventually(t, "two sessions with the "+name+" key", func() bool {
					return strings.Count(events.String()[begin:], `"serialNumber":"`+clitest.Serial(t, w.path(name+".pem"))+`"`) > 1
				})
			}
		})
	}
	if log := events.String(); strings.Contains(log, "errorCode") || strings.Contains(log, "algorithmKeyMismatch") {
		t.Errorf("the emulator refused a request:\n%s", log)
	}
}

// startUpdate runs holdfast update until the test ends.
func startUpdate(t *testing.T, dir string, args ...string) {
	t.Helper()
	var log clitest.LockedBuffer
	cmd := exec.Command("holdfast", append([]string{"update"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, &log
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the log of update:\n%s", &log)
		}
	})
}
