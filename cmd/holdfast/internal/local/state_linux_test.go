package local_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const kills = 200

// TestKilledEmulators kills an emulator with --state while clients change trust anchors
// and create sessions. After each start, everything that was acknowledged is there, and
// nothing that was never sent.
func TestKilledEmulators(t *testing.T) {
	t.Parallel()
	p := newKilled(t)
	acknowledged := 0
	for range kills {
		p.start()
		p.check()
		acknowledged += p.load()
	}
	p.start()
	p.check()
	p.end(p.cmd)
	t.Logf("%d kills, %d acknowledged changes, %d of them sessions", kills, acknowledged, p.sessions)
	if acknowledged < kills || p.sessions == 0 {
		t.Error("the emulator was killed before it answered")
	}
}

// A killed is an emulator that is killed, with the clients that know what it
// acknowledged.
type killed struct {
	*testing.T
	dir      string
	cmd      *exec.Cmd
	url      string
	admin    credentials.Credentials
	key      crypto.Signer
	chain    []*x509.Certificate
	pem      string
	names    [4]struct{ arn, sent, acknowledged string }
	issued   []credentials.Credentials // since the start before
	mu       sync.Mutex                // guards issued
	sessions int
}

func newKilled(t *testing.T) *killed {
	ca := signertest.NewCA(t, "root")
	p := &killed{T: t, dir: t.TempDir(), key: signertest.NewKey(t, "p256"), pem: string(signertest.CertPEM(ca.Cert))}
	p.chain = []*x509.Certificate{ca.Issue(t, p.key, nil)}
	if err := os.WriteFile(filepath.Join(p.dir, "root.pem"), []byte(p.pem), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	for i := range p.names {
		var out struct {
			TrustAnchor struct{ TrustAnchorArn string }
		}
		name := fmt.Sprintf("client %d - 0", i)
		p.must(p.call(t.Context(), "POST", "/trustanchors", map[string]any{
			"name": name, "source": map[string]any{"sourceType": "CERTIFICATE_BUNDLE", "sourceData": map[string]string{"x509CertificateData": p.pem}},
		}, &out))
		p.names[i].arn, p.names[i].sent, p.names[i].acknowledged = out.TrustAnchor.TrustAnchorArn, name, name
	}
	p.end(p.cmd)
	return p
}

func (p *killed) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// end ends the emulator that is running.
func (p *killed) end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// start starts the emulator and reads the credentials of the administrator, which stay
// the same.
func (p *killed) start() {
	p.Helper()
	p.cmd = clitest.PlainCommand(p, "emulator", "--listen", "127.0.0.1:0", "--export", "--trust-anchor", "root.pem", "--state", "state")
	p.cmd.Dir = p.dir
	var stderr clitest.LockedBuffer
	p.cmd.Stderr = &stderr
	out, err := p.cmd.StdoutPipe()
	p.must(err)
	p.must(p.cmd.Start())
	p.Cleanup(func() { _ = p.cmd.Process.Kill() })
	var admin credentials.Credentials
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "unset "); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		switch name {
		case "AWS_ACCESS_KEY_ID":
			admin.AccessKeyID = value
		case "AWS_SECRET_ACCESS_KEY":
			admin.SecretAccessKey = value
		case "AWS_ENDPOINT_URL":
			p.url = value
		}
	}
	if admin.AccessKeyID == "" {
		p.Fatalf("the emulator did not start: %s", stderr.String())
	}
	if p.admin.AccessKeyID != "" && (p.admin.AccessKeyID != admin.AccessKeyID || p.admin.SecretAccessKey != admin.SecretAccessKey) {
		p.Fatal("the administrator has changed")
	}
	p.admin = admin
}

// load lets clients change resources until the emulator is killed at some moment, and
// returns how many changes were acknowledged.
func (p *killed) load() (acknowledged int) {
	ctx, cancel := context.WithCancel(p.Context())
	defer cancel()
	results := make(chan int)
	for i := range p.names {
		go func() {
			n := 0
			for ; p.rename(ctx, i) == nil; n++ {
			}
			results <- n
		}()
	}
	go func() {
		n := 0
		for ; p.session(ctx) == nil; n++ {
		}
		p.sessions += n
		results <- n
	}()
	// The moment is random and needs no precision.
	time.Sleep(time.Duration(rand.Int64N(int64(40 * time.Millisecond))))
	p.end(p.cmd)
	for range len(p.names) + 1 {
		acknowledged += <-results
	}
	return acknowledged
}

// rename gives the trust anchor of a client a name that it never had.
func (p *killed) rename(ctx context.Context, client int) error {
	n := &p.names[client]
	n.sent = fmt.Sprintf("client %d - %d", client, rand.Uint64())
	err := p.call(ctx, "PATCH", "/trustanchor/"+url.PathEscape(n.arn), map[string]any{"name": n.sent}, nil)
	if err == nil {
		n.acknowledged = n.sent
	}
	return err
}

// session creates a session and keeps its credentials.
func (p *killed) session(ctx context.Context) error {
	body := fmt.Appendf(nil, `{"trustAnchorArn":%q,"profileArn":%q,"roleArn":%q}`,
		emulator.DefaultTrustAnchorARN(emulator.DefaultRegion, emulator.DefaultAccount, 1),
		emulator.DefaultProfileARN(emulator.DefaultRegion, emulator.DefaultAccount, 1),
		emulator.DefaultRoleARN(emulator.DefaultRegion, emulator.DefaultAccount))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/sessions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if err := sigv4x509.Sign(r, body, p.key, p.chain, emulator.DefaultRegion, time.Now()); err != nil {
		return err
	}
	var out struct {
		CredentialSet []struct {
			Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }
		}
	}
	if err := p.do(r, &out); err != nil {
		return err
	}
	c := out.CredentialSet[0].Credentials
	p.mu.Lock()
	p.issued = append(p.issued, credentials.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken})
	p.mu.Unlock()
	return nil
}

// check compares the state of the emulator with what it acknowledged.
func (p *killed) check() {
	p.Helper()
	var out struct {
		TrustAnchors []struct{ TrustAnchorArn, Name string }
	}
	p.must(p.call(p.Context(), "GET", "/trustanchors", nil, &out))
	names := make(map[string]string)
	for _, a := range out.TrustAnchors {
		names[a.TrustAnchorArn] = a.Name
	}
	for i := range p.names {
		n := &p.names[i]
		if got := names[n.arn]; got != n.acknowledged && got != n.sent {
			p.Fatalf("trust anchor has the name %q; %q was acknowledged, and %q was sent last", cmp.Or(got, "(none)"), n.acknowledged, n.sent)
		}
		n.acknowledged, n.sent = names[n.arn], names[n.arn]
	}
	for _, c := range p.issued {
		if _, err := emulator.GetCallerIdentity(p.Context(), nil, p.url, c, time.Now()); err != nil {
			p.Fatalf("a session that was acknowledged: %v", err)
		}
	}
	p.issued = nil
}

// call calls an operation of the control plane.
func (p *killed) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	r, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if err := sigv4.Sign(r, body, p.admin, "rolesanywhere", emulator.DefaultRegion, time.Now()); err != nil {
		return err
	}
	return p.do(r, out)
}

func (p *killed) do(r *http.Request, out any) error {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		p.Errorf("%s %s: %s %s", r.Method, r.URL.Path, resp.Status, b)
		return fmt.Errorf("status %s", resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
