//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

const serveTable = `[[role]]
name = "app"
certificate = "cert.pem"
private_key = "/keys/key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/app"
`

func TestServeConfig(t *testing.T) {
	for _, test := range []struct {
		name, text, culprit string // "": it is good
	}{
		{"good", serveTable, ""},
		{"two", serveTable + strings.Replace(serveTable, `"app"`, `"other"`, 1), ""},
		{"every key", serveTable + "intermediates = \"i.pem\"\npin_source = \"file:pin\"\nregion = \"us-east-1\"\nendpoint = \"https://localhost\"\nsession_duration = 900\nrole_session_name = \"me\"\nport = 9921\n", ""},
		{"text", "hello", "serve.toml"},
		{"empty", "", "[[role]]"},
		{"unknown key", serveTable + "cert = \"x\"\n", "cert"},
		{"unknown table", serveTable + "[server]\nport = 1\n", "server"},
		{"a number for a text", "[[role]]\nname = 7\n", "serve.toml"},
		{"no name", strings.Replace(serveTable, `name = "app"`, "", 1), "name"},
		{"twice", serveTable + serveTable, "twice"},
		{"a name with a slash", strings.Replace(serveTable, `"app"`, `"a/b"`, 1), "letters"},
		{"a name with braces", strings.Replace(serveTable, `"app"`, `"{x...}"`, 1), "letters"},
		{"a name of dots", strings.Replace(serveTable, `"app"`, `".."`, 1), "letters"},
		{"a long name", strings.Replace(serveTable, `"app"`, `"`+strings.Repeat("a", 65)+`"`, 1), "letters"},
		{"no key", "[[role]]\nname = \"app\"\n", "certificate"},
		{"bad ARN", strings.Replace(serveTable, "role/app", "", 1), "role"},
		{"short session", serveTable + "session_duration = 5\n", "duration"},
		{"long session", serveTable + "session_duration = 4294968196\n", "duration"},
		{"bad port", serveTable + "port = 65536\n", "port"},
		{"large", strings.Repeat("#", 65<<10), "serve.toml"},
	} {
		path := filepath.Join(t.TempDir(), "serve.toml")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		a := app{stdout: io.Discard, stderr: io.Discard, now: time.Now, lookupEnv: func(string) (string, bool) { return "", false }}
		roles, err := setups(a.serve(), roleSetup{}, path)
		if test.culprit == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else if id := roles[0].id.identity; id.Certificate != filepath.Join(filepath.Dir(path), "cert.pem") || id.Key != "/keys/key.pem" {
				t.Errorf("%s: identity %+v", test.name, id)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.culprit) {
			t.Errorf("%s: error %v does not name %s", test.name, err, test.culprit)
		}
	}
}

// Flags fill in what a role leaves out; a role with a key has nothing of the
// flags' key.
func TestServeConfigOverFlags(t *testing.T) {
	var flags roleSetup
	flags.id.identity = keystore.Identity{Certificate: "flag.pem", Key: "flag.key"}
	flags.id.pinSource = "file:flag"
	flags.session.config.Endpoint = "https://flag"
	flags.session.config.SessionName = "flag"
	got, err := roleTable{Name: "app", PrivateKey: "own.p12", RoleSessionName: "own"}.over(flags)
	if err != nil {
		t.Fatal(err)
	}
	if want := (keystore.Identity{Key: "own.p12"}); got.id.identity != want || got.id.pinSource != "" {
		t.Errorf("identity %+v, pin-source %q", got.id.identity, got.id.pinSource)
	}
	if c := got.session.config; c.Endpoint != "https://flag" || c.SessionName != "own" {
		t.Errorf("endpoint %q, session name %q", c.Endpoint, c.SessionName)
	}
	got, err = roleTable{Name: "app"}.over(flags)
	if err != nil || got.id.identity != flags.id.identity || got.id.pinSource != "file:flag" {
		t.Errorf("%+v, %v", got.id.identity, err)
	}
}

func TestRebase(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "-": "-", "prompt": "prompt", "env:X": "env:X", "/k.pem": "/k.pem", "k.pem": "/etc/k.pem",
		"file:k.pem": "/etc/k.pem", "../k.pem": "/k.pem", "pkcs11:token=x": "pkcs11:token=x", "tpm:path=k.pem": "tpm:path=k.pem",
	} {
		if got := rebase(text, "/etc"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	got := files(keystore.Identity{Key: "tpm:path=/k%20k.pem;device=/dev/tpm0", Certificate: "cert.pem", Intermediates: "env:X"})
	if want := []string{"/k k.pem", "cert.pem"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := files(keystore.Identity{Certificate: "pkcs11:token=x"}); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestAuthToken(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	env := map[string]string{"XDG_RUNTIME_DIR": dir}
	a := app{lookupEnv: func(n string) (string, bool) { v, ok := env[n]; return v, ok }}
	mode := func(path string) os.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}

	// In the runtime folder, over what was left there.
	stale := filepath.Join(dir, "holdfast", "serve-1.token")
	if err := errors.Join(os.Mkdir(filepath.Dir(stale), 0o755), os.WriteFile(stale, []byte("stale"), 0o644)); err != nil {
		t.Fatal(err)
	}
	made, err := a.newAuthToken("", "1", log)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(made.path)
	if err != nil || made.path != stale || string(text) != made.Value() || len(text) < 26 || bytes.ContainsAny(text, "\r\n ") {
		t.Errorf("%s: %q, %v", made.path, text, err)
	}
	if m, d := mode(made.path), mode(filepath.Dir(made.path)); m != 0o600 || d != 0o700 {
		t.Errorf("modes %o and %o", m, d)
	}
	made.Close()
	if left, _ := filepath.Glob(filepath.Join(dir, "holdfast", "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	// A successor's stays.
	made, err = a.newAuthToken("", "1", log)
	if err != nil {
		t.Fatal(err)
	}
	next, err := a.newAuthToken("", "1", log)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	if text, err := os.ReadFile(next.path); err != nil || string(text) != next.Value() {
		t.Errorf("the successor's: %q, %v", text, err)
	}
	next.Close()

	// At a path where there is none, and in a folder that is made.
	path := filepath.Join(dir, "token")
	one, err := a.newAuthToken(path, "1", log)
	if err != nil || one.path != path || mode(path) != 0o600 {
		t.Fatalf("%+v, %v", one, err)
	}
	other, err := (app{lookupEnv: func(string) (string, bool) { return "", false }}).newAuthToken("", "1", log)
	if err != nil || mode(filepath.Dir(other.path)) != 0o700 || other.Value() == one.Value() {
		t.Fatalf("%+v, %v", other, err)
	}
	one.Close()
	other.Close()
	for _, gone := range []string{path, filepath.Dir(other.path)} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}

	// Somebody else's file is read again when it changes, and is left alone.
	write := func(text string) {
		t.Helper()
		if err := (atomicfile.File{Name: path}).Replace([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	theirs, err := a.newAuthToken(path, "1", log)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ text, want string }{
		{"first", "first"}, {"second", "second"}, {"", "second"}, {"two\nlines", "second"}, {"third\r\n", "third"}, {strings.Repeat("x", 5<<10), "third"}, {"naïve", "third"},
	} {
		write(test.text)
		if got := theirs.Value(); got != test.want {
			t.Errorf("after %.10q: %q, want %q", test.text, got, test.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := theirs.Value(); got != "third" {
		t.Errorf("without a file: %q", got)
	}
	write("fourth")
	theirs.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("somebody else's file: %v", err)
	}
	for _, bad := range []string{"", "\n", "a b", "a\x00"} {
		write(bad)
		if _, err := a.newAuthToken(path, "1", log); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := a.newAuthToken(filepath.Join(dir, "no", "token"), "1", log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := a.newAuthToken(dir, "1", log); err == nil {
		t.Error("a folder was taken")
	}
}

// A manager that reads nothing holds nobody up.
func TestNotifyDeaf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	deaf, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	full, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := full.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write([]byte("x"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		service{app{lookupEnv: func(string) (string, bool) { return name, true }}}.notify("READY=1")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("notify does not return")
	}
}

func TestTypedPINs(t *testing.T) {
	asked := 0
	ask := func(_ context.Context, p keystore.Prompt) ([]byte, error) {
		asked++
		if p.Optional {
			return nil, nil
		}
		return []byte("1234"), nil
	}
	var typed typedPINs
	pin := typed.before(ask)
	login := keystore.Prompt{What: keystore.AskPIN, Ref: keystore.Ref{Scheme: "pkcs11", Rest: "token=a"}}
	if got, err := pin(t.Context(), login); err != nil || string(got) != "1234" || asked != 1 {
		t.Fatalf("%q, %v", got, err)
	} else {
		clear(got) // as its owner does
	}
	typed.stop()
	if got, err := pin(t.Context(), login); err != nil || string(got) != "1234" || asked != 1 {
		t.Errorf("again: %q, %v, asked %d times", got, err, asked)
	}
	for name, change := range map[string]func(*keystore.Prompt){
		"another token":   func(p *keystore.Prompt) { p.Ref.Rest = "token=b" },
		"another kind":    func(p *keystore.Prompt) { p.What = keystore.AskPassword },
		"a wrong one was": func(p *keystore.Prompt) { p.FewTries = true },
		"the last try":    func(p *keystore.Prompt) { p.LastTry = true },
		"each signature":  func(p *keystore.Prompt) { p.PerSignature = true },
	} {
		p := login
		change(&p)
		if got, err := pin(t.Context(), p); !errors.Is(err, signer.ErrPINRequired) || got != nil || asked != 1 {
			t.Errorf("%s: %q, %v, asked %d times", name, got, err, asked)
		}
	}
	optional := login
	optional.Ref.Rest, optional.Optional = "token=c", true
	if got, err := pin(t.Context(), optional); got != nil || err != nil {
		t.Errorf("optional: %q, %v", got, err)
	}
}

func TestHopLimit(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := loopback.Listen(t.Context(), addr, false)
		if err != nil {
			t.Logf("%s: %v", addr, err) // no IPv6 here
			continue
		}
		defer l.Close()
		if err := limitHops(l, 7); err != nil {
			t.Fatal(err)
		}
		go net.Dial("tcp", l.Addr().String())
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		err = errors.Join(raw.Control(func(fd uintptr) {
			if addr[0] == '[' {
				got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS)
			} else {
				got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL)
			}
		}), err)
		if err != nil || got != 7 {
			t.Errorf("%s: hop limit %d, %v", addr, got, err)
		}
	}
}

// systemd hands over the socket, is told when serve is ready and ends, and
// hears from it in between.
func TestServeUnderSystemd(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	l, err := loopback.Listen(t.Context(), "127.0.0.1:0", false) // as systemd's, not for multipath TCP
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	// The shell's exec keeps the process ID, which systemd puts there.
	cmd := exec.Command("sh", append([]string{"-c", `export LISTEN_PID=$$; exec holdfast "$@"`, "sh", "serve", "--certificate", "cert.pem", "--private-key", "key.pem"}, s.up.args...)...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit, "RUNTIME_DIRECTORY=" + s.dir,
		"NOTIFY_SOCKET=" + s.path("notify"), "WATCHDOG_USEC=100000", "LISTEN_FDS=1", "LISTEN_FDNAMES=holdfast.socket"}
	cmd.ExtraFiles = []*os.File{file}
	log := new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	file.Close()
	said := func(want string) {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 4096); ; {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v\n%s", want, err, log)
			}
			if strings.Contains(string(buf[:n]), want) {
				return
			}
		}
	}
	said("READY=1")
	said("WATCHDOG=1")
	said("WATCHDOG=1")
	token, err := os.ReadFile(filepath.Join(s.dir, "serve-"+strconv.Itoa(l.Addr().(*net.TCPAddr).Port)+".token"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, _ := ask(t, "GET", "http://"+l.Addr().String()+"/credentials", "Authorization", string(token)); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
}

// Half-open connections, however many, do not keep a client from an answer.
func TestServeWithHalfOpenConnections(t *testing.T) {
	t.Parallel()
	const want = 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := int(min(want, limit.Cur/2))
	s := newSite(t, time.Hour)
	waitReady(t, s.served)
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < n; i += 8 {
				c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = c
				if i%2 == 0 {
					_, _ = io.WriteString(c, "GET /credentials HT") // it may be closed again
				}
			}
		})
	}
	var expires time.Time
	asked := 0
	held := make(chan struct{})
	go func() {
		wg.Wait()
		close(held)
	}()
	for open := true; open; asked++ {
		select {
		case <-held:
			open = false
		default:
		}
		if status := s.check(t, &expires); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	t.Logf("%d connections, %d answers meanwhile; open %s, dropped %s", n, asked,
		metric(t, s.served, "holdfast_connections_open"), metric(t, s.served, "holdfast_connections_dropped_total"))
	if open, err := strconv.Atoi(metric(t, s.served, "holdfast_connections_open")); err != nil || open > 512 {
		t.Errorf("%d connections are open, %v", open, err)
	}
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

func TestShellQuote(t *testing.T) {
	for text, want := range map[string]string{
		"/run/user/1/a.token": "/run/user/1/a.token", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a;b": "'a;b'", "~/x": "'~/x'",
	} {
		got := shellQuote(text)
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
		if out, err := exec.Command("sh", "-c", "printf %s "+got).Output(); err != nil || string(out) != text {
			t.Errorf("%q: the shell reads %q, %v", text, out, err)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:1": "http://127.0.0.1:1", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://127.0.0.1:1", "[::1]:1": "http://[::1]:1", "192.0.2.1:1": "http://192.0.2.1:1",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
