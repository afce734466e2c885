//go:build cgo

package vending_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// faultyFunctions are the functions that end the helper of a role, besides C_Login: while
// it signs, or while it finds its key again.
var faultyFunctions = []string{
	"C_SignInit", "C_Sign",
	"C_GetFunctionList", "C_Initialize", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_GetSessionInfo",
	"C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal", "C_GetAttributeValue", "C_GetSlotInfo",
}

// A faultyRole is a role of serve with a module of its own that fails in one function.
type faultyRole struct {
	function string
	module   string // its path

	mu         sync.Mutex
	keyID      string // of the last credentials
	expires    time.Time
	since      time.Time // when these were seen first
	generation int
}

func (r *faultyRole) set(t *testing.T, rules ...string) {
	t.Helper()
	r.generation++
	text := fmt.Sprintf("%d none 1 0 return 0\n", r.generation)
	for _, rule := range rules {
		text += fmt.Sprintf("%d %s\n", r.generation, rule)
	}
	name := r.module + ".rules"
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// failed returns when the module has failed first since set; zero: not yet.
func (r *faultyRole) failed() (first time.Time) {
	names, _ := filepath.Glob(fmt.Sprintf("%s.rules.%d.*", r.module, r.generation))
	for _, name := range names { // their last changes
		if info, err := os.Stat(name); err == nil && (first.IsZero() || info.ModTime().Before(first)) {
			first = info.ModTime()
		}
	}
	return first
}

// ask checks an answer for the role: it fails only after the credentials have expired.
func (r *faultyRole) ask(t *testing.T, s *clitest.Served, failures *atomic.Int64) {
	r.mu.Lock()
	expires := r.expires // of those before the request; another client may see new ones before this one is answered
	r.mu.Unlock()
	status, keyID, expiration := clitest.CredentialsOf(t, s, "/roles/"+r.function+"/credentials")
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case status != http.StatusOK && time.Now().Before(expires.Add(-time.Second)):
		failures.Add(1)
		t.Errorf("%s: status %d, %v before the expiry", r.function, status, time.Until(expires))
	case status == http.StatusOK && keyID != r.keyID:
		r.keyID, r.since = keyID, time.Now()
		r.expires, _ = time.Parse(time.RFC3339, expiration)
	}
}

// helpersOf returns the helpers that a process has started, and how many have ended without
// being waited for.
func helpersOf(t *testing.T, pid int) (pids []int, zombies int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		id, comm, state, parent := processStat(stat)
		if !strings.HasPrefix("holdfast-pkcs11", comm) || comm == "" || parent != pid {
			continue
		}
		if pids = append(pids, id); state == "Z" {
			zombies++
		}
	}
	return pids, zombies
}

func processStat(file string) (pid int, comm, state string, parent int) {
	text, _ := os.ReadFile(file)
	id, rest, _ := strings.Cut(string(text), " (")
	comm, rest, _ = strings.Cut(rest, ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0, "", "", 0
	}
	pid, _ = strconv.Atoi(id)
	parent, _ = strconv.Atoi(fields[1])
	return pid, comm, fields[0], parent
}

// While modules crash, exit or hang in any function, serve answers 64 clients with the
// credentials that it has, and gets new ones before they expire. The exception is a
// login, whose PIN it does not send again. No helper outlives serve.
func TestServeWithEndingModules(t *testing.T) {
	helper := pkcs11test.Helper(t)
	for _, action := range []string{"crash 0", "exit 3", "hang 0"} {
		name, _, _ := strings.Cut(action, " ")
		t.Run(name, func(t *testing.T) {
			ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
			up := clitest.NewUpstream(t, ca.Root(), 36*time.Second)
			dir := t.TempDir()
			roles, module := faultyRoles(t, dir, ca, up)
			s := clitest.StartServe(t, dir, []string{"HOME=" + dir, "FAULT_MODULE=" + module, pkcs11.HelperVariable + "=" + helper},
				"--config", "roles.toml", "--status-listen", "127.0.0.1:0", "--timeout", "2s")
			clitest.WaitReady(t, s)

			var clients sync.WaitGroup
			var answers, failures atomic.Int64
			done := make(chan struct{})
			stop := sync.OnceFunc(func() { close(done); clients.Wait() })
			defer stop()
			for n := range 64 {
				clients.Go(func() {
					for i := n; ; i++ {
						roles[i%len(roles)].ask(t, s, &failures)
						answers.Add(1)
						select {
						case <-done:
							return
						case <-time.After(100 * time.Millisecond):
						}
					}
				})
			}
			for _, r := range roles {
				rules := []string{r.function + " 1 2 " + action}
				if r.function != "C_SignInit" && r.function != "C_Sign" {
					rules = append(rules, "C_Sign 1 1 abort 0")
				}
				r.set(t, rules...)
			}
			for _, r := range roles {
				r.awaitRecovery(t)
			}
			if n := clitest.Metric(t, s, "holdfast_pkcs11_helpers_ended_total"); n == "0" {
				t.Errorf("%s helpers have ended", n)
			}
			pids, zombies := helpersOf(t, s.Process.Pid)
			if len(pids) > len(roles) || zombies > 0 {
				t.Errorf("%d helpers for %d roles, %d zombies", len(pids), len(roles), zombies)
			}

			// All hang, and serve is killed.
			for _, r := range roles {
				r.set(t, "C_OpenSession 1 0 hang 0", "C_SignInit 1 0 hang 0")
				_ = os.Remove(r.module + ".rules.hangs")
			}
			if err := s.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			clitest.Eventually(t, "a function that hangs", func() bool {
				return slices.ContainsFunc(roles, func(r *faultyRole) bool { return os.Remove(r.module+".rules.hangs") == nil })
			})
			stop()
			pids, _ = helpersOf(t, s.Process.Pid)
			if err := s.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			clitest.Eventually(t, "the end of the helpers", func() bool {
				return !slices.ContainsFunc(pids, func(pid int) bool {
					_, _, state, _ := processStat(fmt.Sprintf("/proc/%d/stat", pid))
					return state != "" && state != "Z"
				})
			})
			t.Logf("%d answers, %d failed; %d helpers ended %.1f s after SIGKILL of serve", answers.Load(), failures.Load(), len(pids), time.Since(killed).Seconds())
		})
	}
}

// awaitRecovery waits until a role has new credentials after its module has failed.
func (r *faultyRole) awaitRecovery(t *testing.T) {
	t.Helper()
	var failed, since time.Time
	clitest.Eventually(t, r.function+" fails", func() bool { failed = r.failed(); return !failed.IsZero() })
	if r.function == "C_Login" {
		clitest.Eventually(t, "the login", func() bool {
			_, err := os.Stat(fmt.Sprintf("%s.rules.%d.C_Login", r.module, r.generation))
			return err == nil
		})
	} else {
		clitest.Eventually(t, r.function+": new credentials", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			since = r.since
			return since.After(failed)
		})
		t.Logf("%s: new credentials after %.1f s", r.function, since.Sub(failed).Seconds())
	}
	log, err := os.ReadFile(r.module + ".rules.log")
	if err != nil {
		t.Fatal(err)
	}
	logins, starts := strings.Count(string(log), "L"), strings.Count(string(log), "I")
	if logins > starts || r.function == "C_Login" && logins != 2 { // that of the start, and one that failed
		t.Errorf("%s: %d logins, the module was initialized %d times", r.function, logins, starts)
	}
}

// faultyRoles writes roles.toml with a role for each function, and returns the roles and
// the path of SoftHSM. Each has a copy of the module and of the token.
func faultyRoles(t *testing.T, dir string, ca *signertest.CA, up *clitest.Upstream) (roles []*faultyRole, module string) {
	t.Helper()
	id := clitest.TokenIdentities(t, ca)[0]
	ref := id.Flags[slices.Index(id.Flags, "--certificate")+1]
	uri, err := pkcs11.ParseURI(ref)
	if err != nil {
		t.Fatal(err)
	}
	module = uri.ModulePath
	code, err := os.ReadFile(clitest.FaultyModule(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	for _, function := range slices.Concat(faultyFunctions, []string{"C_Login"}) {
		if function == "C_Login" { // serve does not use the PIN of the token again
			id = clitest.TokenIdentities(t, ca)[0]
			if uri, err = pkcs11.ParseURI(id.Flags[slices.Index(id.Flags, "--certificate")+1]); err != nil {
				t.Fatal(err)
			}
		}
		own := filepath.Join(dir, function)
		if err := os.CopyFS(filepath.Join(own, "tokens"), os.DirFS(filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens"))); err != nil {
			t.Fatal(err)
		}
		r := &faultyRole{function: function, module: filepath.Join(own, "fault.so")}
		for file, text := range map[string]string{
			r.module:                 string(code),
			r.module + ".rules.log":  "",
			r.module + ".rules.conf": "directories.tokendir = " + filepath.Join(own, "tokens") + "\nlog.level = ERROR\n",
		} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		uri.ModulePath, uri.Isolation = r.module, pkcs11.IsolationOn
		fmt.Fprintf(&config, "[[role]]\nname = %q\ncertificate = %q\nprivate_key = %q\npin_source = %q\ntrust_anchor_arn = %q\nprofile_arn = %q\nrole_arn = %q\nendpoint = %q\n\n",
			function, uri.String(), uri.String(), "file:"+filepath.Join(id.Dir, "pin"), up.Args[3], up.Args[5], up.Args[7], up.URL)
		r.set(t)
		roles = append(roles, r)
	}
	if err := os.WriteFile(filepath.Join(dir, "roles.toml"), []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return roles, module
}
