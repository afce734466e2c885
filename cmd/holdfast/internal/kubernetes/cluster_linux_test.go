package kubernetes

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A cluster is an API server with its etcd. It has no controller manager, so nothing makes
// pods of a DaemonSet, and no service accounts in new namespaces.
type cluster struct {
	dir, url   string
	ca         *signertest.CA
	programs   map[string]string // by name
	kubeconfig string            // of an administrator
}

// startTime is how long a server may take to start on a busy machine.
const startTime = 3 * time.Minute

// startCluster starts a cluster that ends with the test.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir(), ca: signertest.NewCA(t, "Kubernetes"), programs: build(t)}
	c.write(t, "ca.pem", signertest.CertPEM(c.ca.Cert))
	server := signertest.NewKey(t, "p256")
	c.write(t, "server.pem", signertest.CertPEM(c.ca.Issue(t, server, func(cert *x509.Certificate) {
		cert.Subject = pkix.Name{CommonName: "kube-apiserver"}
		cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		cert.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})))
	c.write(t, "server.key", signertest.KeyPEM(t, server))
	accounts := signertest.NewKey(t, "p256")
	c.write(t, "accounts.key", signertest.KeyPEM(t, accounts))
	der, err := x509.MarshalPKIXPublicKey(accounts.Public())
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, "accounts.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	address := func() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(clitest.FreePort(t))) }
	etcd, peers, port := "http://"+address(), "http://"+address(), clitest.FreePort(t)
	c.url = "https://127.0.0.1:" + strconv.Itoa(port)
	c.kubeconfig = c.user(t, "admin", "admin", "system:masters")

	c.run(t, "etcd", "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	ended := c.run(t, "kube-apiserver", "--etcd-servers="+etcd, "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(port),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file="+c.path("server.pem"), "--tls-private-key-file="+c.path("server.key"), "--client-ca-file="+c.path("ca.pem"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.path("accounts.pub"), "--service-account-signing-key-file="+c.path("accounts.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged")
	c.awaitReady(t, ended)
	return c
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) write(t testing.TB, name string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(c.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return c.path(name)
}

// run starts a server that is killed at the end of the test. ended is closed when it ends.
func (c *cluster) run(t *testing.T, name string, args ...string) (ended <-chan struct{}) {
	t.Helper()
	log, err := os.Create(c.path(name + ".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(c.programs[name], args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if data, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the end of %s:\n%s", log.Name(), data[max(0, len(data)-4000):])
		}
	})
	return done
}

// awaitReady waits until the server has made its roles and priority classes.
func (c *cluster) awaitReady(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	client := c.client(t, c.identity(t, "probe", "system:masters"))
	begin := time.Now()
	for {
		status, body := ask(t.Context(), client, http.MethodGet, c.url+"/readyz", nil)
		if status == http.StatusOK {
			return
		}
		if time.Since(begin) > startTime {
			t.Fatalf("the API server is not ready after %v: %d %s", startTime, status, body)
		}
		select {
		case <-ended:
			t.Fatal("the API server ended")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// An identity is a client certificate of the API server with its key.
type identity struct {
	key  crypto.Signer
	cert *x509.Certificate
}

func (c *cluster) identity(t testing.TB, name string, groups ...string) identity {
	t.Helper()
	key := signertest.NewKey(t, "p256")
	return identity{key, c.ca.Issue(t, key, func(cert *x509.Certificate) {
		cert.Subject = pkix.Name{CommonName: name, Organization: groups}
	})}
}

// client returns a client of the API server. The zero identity has no certificate.
func (c *cluster) client(t testing.TB, id identity) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(c.ca.Cert)
	if id.cert != nil {
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{id.cert.Raw}, PrivateKey: id.key}}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// ask makes a request with a body in JSON. The status is 0 if there was no answer.
func ask(ctx context.Context, client *http.Client, method, url string, body []byte) (status int, answer []byte) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, []byte(err.Error())
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return resp.StatusCode, answer
}

// user writes a kubeconfig file for a user with a client certificate. file is the beginning
// of the names of its files.
func (c *cluster) user(t testing.TB, file, name string, groups ...string) (path string) {
	t.Helper()
	id := c.identity(t, name, groups...)
	return c.write(t, file+".kubeconfig", fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: user, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: test, context: {cluster: test, user: user}}]
current-context: test
`, c.url, c.path("ca.pem"), c.write(t, file+".pem", signertest.CertPEM(id.cert)), c.write(t, file+".key", signertest.KeyPEM(t, id.key))))
}

// An answer is what kubectl returns.
type answer struct {
	stdout, stderr string
	err            error
}

// as runs kubectl with a kubeconfig file.
func (c *cluster) as(t testing.TB, kubeconfig, stdin string, args ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTime) // also when the test cleans up
	defer cancel()
	cmd := exec.CommandContext(ctx, c.programs["kubectl"], args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = []string{"HOME=" + c.dir, "KUBECONFIG=" + kubeconfig, "PATH=" + os.Getenv("PATH")}
	err := cmd.Run()
	return answer{stdout.String(), stderr.String(), errors.Join(err, ctx.Err())}
}

// kubectl runs kubectl as an administrator and returns its output, or fails the test.
func (c *cluster) kubectl(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	a := c.as(t, c.kubeconfig, stdin, args...)
	if a.err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), a.err, a.stdout, a.stderr)
	}
	return a.stdout
}
