package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A served is a process of holdfast serve.
type served struct {
	*exec.Cmd
	t      testing.TB
	url    string // of its endpoints
	status string // of /healthz and so on; "": none
	token  string // the file
	out    *lockedBuffer
	log    *lockedBuffer
	done   chan error
}

// A lockedBuffer is safe for concurrent use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServe runs holdfast serve in dir until the test ends. env is added to
// its environment.
func startServe(t testing.TB, dir string, env []string, args ...string) *served {
	t.Helper()
	return startProgram(t, "holdfast", dir, env, append([]string{"serve", "--port", "0"}, args...)...)
}

func startProgram(t testing.TB, program, dir string, env []string, args ...string) *served {
	t.Helper()
	s := &served{Cmd: exec.Command(program, args...), t: t, out: new(lockedBuffer), log: new(lockedBuffer), done: make(chan error, 1)}
	s.Dir = dir
	s.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit, "XDG_RUNTIME_DIR=" + dir, "TMPDIR=" + dir}, env...)
	s.Stderr = s.log
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Process.Kill()
		s.wait()
		if t.Failed() {
			t.Logf("the log of serve:\n%s", s.log)
		}
	})
	lines := bufio.NewScanner(io.TeeReader(out, s.out))
	for lines.Scan() {
		line := lines.Text()
		if u, ok := strings.CutPrefix(line, "# listening on "); ok {
			s.url = u
		}
		if u, ok := strings.CutPrefix(line, "# status at "); ok {
			s.status, _, _ = strings.Cut(u, "/healthz")
		}
		if f, ok := strings.CutPrefix(line, "export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="); ok {
			s.token = f
		}
		if strings.Contains(line, "AWS_CONTAINER_CREDENTIALS_FULL_URI") {
			break // all that is told is there
		}
	}
	go func() {
		_, _ = io.Copy(s.out, out)
		s.done <- s.Wait()
	}()
	if s.url == "" {
		t.Fatalf("serve ended: %v\n%s", s.wait(), s.log)
	}
	return s
}

// wait waits for the end of the process.
func (s *served) wait() error {
	err := <-s.done
	s.done <- err
	return err
}

func (s *served) tokenValue() string {
	s.t.Helper()
	b, err := os.ReadFile(s.token)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// eventually waits until ok, and fails the test after a while.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// twoRoles is a configuration of the emulator with roles that can be told apart.
const twoRoles = `
[[trust_anchors]]
certificate_files = ["ca.pem"]
[[roles]]
arn = "arn:aws:iam::111122223333:role/first"
[[roles]]
arn = "arn:aws:iam::111122223333:role/second"
`

// serveRoles is a configuration of serve with the same. The second role has a
// port of its own.
func serveRoles(url string, port int) string {
	var b strings.Builder
	for _, name := range []string{"first", "second"} {
		fmt.Fprintf(&b, `
[[role]]
name = %q
certificate = "cert.pem"
private_key = "key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/%s"
endpoint = %q
`, name, name, url)
	}
	fmt.Fprintf(&b, "port = %d\n", port)
	return b.String()
}

// TestAWSClientsServed lets AWS's own clients find credentials in each way that
// serve and exec offer.
func TestAWSClientsServed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the clients are Debian's")
	}
	clients := awsClients(t)
	dir := t.TempDir()
	writeFiles(t, dir, "p256")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("emulator.toml", twoRoles)
	url, _, stop, err := runEmulator(dir, "--config", "emulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	port := freePort(t)
	s := startServe(t, t.TempDir(), nil, "--config", write("roles.toml", serveRoles(url, port)), "--status-listen", "127.0.0.1:0")
	waitReady(t, s)

	token := "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + s.tokenValue()
	session := []string{
		"--endpoint", url, "--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"),
		"--trust-anchor-arn", "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001",
		"--profile-arn", "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001",
		"--role-arn", "arn:aws:iam::111122223333:role/second",
	}
	home := t.TempDir()
	// Keys that no client may use: exec has to hide them.
	aws := filepath.Join(home, ".aws")
	if err := os.Mkdir(aws, 0o700); err != nil {
		t.Fatal(err)
	}
	wrong := "[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n"
	if err := os.WriteFile(filepath.Join(aws, "credentials"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"boto.cfg": "[Credentials]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n",
		"legacy":   "AWSAccessKeyId=AKIAWRONG\nAWSSecretKey=wrong\n",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	misleading := []string{
		"BOTO_CONFIG=" + filepath.Join(home, "boto.cfg"), "AWS_CREDENTIAL_FILE=" + filepath.Join(home, "legacy"),
		"HOME=" + home, "AWS_ACCESS_KEY_ID=AKIAWRONG", "AWS_SECRET_ACCESS_KEY=wrong", "AWS_SESSION_TOKEN=wrong",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/wrong", "AWS_WEB_IDENTITY_TOKEN_FILE=/wrong", "AWS_ROLE_ARN=wrong", "AWS_PROFILE=wrong",
	}
	hidden := []string{"HOME=" + t.TempDir()}
	for _, way := range []struct {
		name   string
		role   string
		only   func(awsClient) bool // nil: all
		prefix []string
		env    []string
	}{
		{"container", "first", nil, nil, append(hidden, token, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.url+"/credentials")},
		{"container-prefix", "second", nil, nil, append(hidden, token, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.url+"/roles/second/credentials")},
		{"token-file", "second", func(c awsClient) bool { return c.tokenFile }, nil, append(hidden, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+s.token, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.url+"/roles/second/credentials")},
		{"imds", "second", nil, nil, append(hidden, "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:"+strconv.Itoa(port)+"/")},
		{"imds-prefix", "second", func(c awsClient) bool { return c.imdsPath }, nil, append(hidden, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+s.url+"/roles/second/")},
		{"exec", "second", nil, append(append([]string{"holdfast", "exec"}, session...), "--"), misleading},
		{"exec-env", "second", nil, append(append([]string{"holdfast", "exec", "--env"}, session...), "--"), misleading},
	} {
		want := "arn:aws:sts::111122223333:assumed-role/" + way.role + "/" + serial(t, filepath.Join(dir, "cert.pem"))
		for _, c := range clients {
			if way.only != nil && !way.only(c) {
				continue
			}
			t.Run(way.name+"/"+c.name, func(t *testing.T) { c.wantCaller(t, url, way.prefix, way.env, want) })
		}
	}
	for _, c := range clients { // no credentials, rather than the first role's
		t.Run("imds-path-left-out/"+c.name, func(t *testing.T) {
			if c.imdsPath {
				return
			}
			args := c.args(t, url)
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append([]string{"AWS_REGION=us-east-1", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + s.url + "/roles/second/"}, hidden...)
			if out, err := cmd.Output(); err == nil {
				t.Errorf("caller is %q", out)
			}
		})
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := os.Stat(s.token); err == nil {
		t.Error("the token file is still there")
	}
}
