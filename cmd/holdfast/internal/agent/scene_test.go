//go:build linux

package agent_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	baseRole     = "arn:aws:iam::111122223333:role/node"
	checkoutRole = "arn:aws:iam::111122223333:role/checkout"
	directRole   = "arn:aws:iam::111122223333:role/direct"
	openRole     = "arn:aws:iam::444455556666:role/open" // trusts every session
	nodeName     = "node-1"
	audience     = "pods.eks.amazonaws.com"
)

// tagPolicy is the trust policy of checkoutRole: only the service account shop/checkout
// gets it, through the base role.
const tagPolicy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + baseRole + `"},
	"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
	"Condition":{"StringEquals":{
		"aws:RequestTag/kubernetes-namespace":"shop","aws:RequestTag/kubernetes-service-account":"checkout",
		"aws:RequestTag/eks-cluster-name":"lab"}}}}`

const pods = `
[[pod]]
namespace = "shop"
service_account = "checkout"
role_arn = "` + checkoutRole + `"

[[pod]] # which AWS refuses
namespace = "shop"
service_account = "thief"
role_arn = "` + checkoutRole + `"

[[pod]]
namespace = "shop"
service_account = "own"
role_arn = "` + openRole + `"
tag_pod = true
session_duration = 900

[[pod]]
namespace = "batch"
service_account = "long"
role_arn = "` + directRole + `"
direct = true
session_duration = 21600
`

// A scene is an agent with a Roles Anywhere and an API server.
type scene struct {
	*clitest.Served
	dir     string
	program string   // the agent
	env     []string // more variables
	aws     *aws
	kube    *apiServer
}

// newScene makes everything but the agent.
func newScene(t testing.TB, change func(*emulator.Config)) *scene {
	t.Helper()
	s := &scene{dir: t.TempDir(), program: "holdfast"}
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	s.write(t, "cert.pem", string(signertest.CertPEM(ca.Issue(t, key, nil))))
	s.write(t, "key.pem", string(signertest.KeyPEM(t, key)))
	s.write(t, "pods.toml", pods)
	s.aws = newAWS(t, ca, change)
	s.kube = newAPIServer(t)
	s.write(t, "kube-ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.kube.Certificate().Raw})))
	s.write(t, "kube-token", agentToken+"\n")
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

// write replaces a file of the scene at once.
func (s *scene) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name+".new"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path(name+".new"), s.path(name)); err != nil {
		t.Fatal(err)
	}
}

// start runs the agent, at loopback addresses unless args say otherwise.
func (s *scene) start(t testing.TB, args ...string) {
	t.Helper()
	s.startAt(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
}

func (s *scene) startAt(t testing.TB, args ...string) {
	t.Helper()
	s.Served = clitest.StartProgram(t, s.program, s.dir, append(s.env, "NODE_NAME="+nodeName), append([]string{
		"agent", "--certificate", "cert.pem", "--private-key", "key.pem",
		"--endpoint", s.aws.URL, "--sts-endpoint", s.aws.URL, "--trust-anchor-arn", s.aws.emulator.TrustAnchorARNs()[0],
		"--profile-arn", s.aws.emulator.ProfileARNs()[0], "--role-arn", baseRole,
		"--pods", "pods.toml", "--cluster-name", "lab", "--cluster-arn", "arn:aws:eks:us-east-1:111122223333:cluster/lab",
		"--kubernetes-url", s.kube.URL, "--kubernetes-ca", "kube-ca.pem", "--kubernetes-token-file", "kube-token",
		"--status-listen", "127.0.0.1:0", "--log-format", "json",
	}, args...)...)
}

// An answer is the response to a pod.
type answer struct {
	status          int
	retryAfter      string
	Code, Message   string
	AccessKeyId     string
	SecretAccessKey string
	Token           string
	AccountId       string
	Expiration      time.Time
}

// ask is a request of a pod with this token.
func (s *scene) ask(t testing.TB, token string) (a answer) {
	t.Helper()
	resp, body := clitest.Ask(t, "GET", s.URL+podidentity.Path, "Authorization", token)
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	a.status, a.retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
	return a
}

// obtain is ask for a pod that comes again after a 503, which a slow machine may cause.
func (s *scene) obtain(t testing.TB, token string) (a answer) {
	t.Helper()
	clitest.Eventually(t, "credentials or a refusal", func() bool {
		a = s.ask(t, token)
		return a.status != http.StatusServiceUnavailable
	})
	return a
}

// identity returns the ARN for which AWS takes the credentials.
func (s *scene) identity(t testing.TB, a answer) string {
	t.Helper()
	c := credentials.Credentials{AccessKeyID: a.AccessKeyId, SecretAccessKey: a.SecretAccessKey, SessionToken: a.Token, Expires: a.Expiration}
	id, err := emulator.GetCallerIdentity(t.Context(), nil, s.aws.URL, c, time.Now())
	if err != nil {
		t.Fatalf("status %d, %s: %v", a.status, a.Message, err)
	}
	return id.ARN
}

// An aws is an emulator behind a fault that a test switches.
type aws struct {
	*httptest.Server
	emulator          *emulator.Server
	sessions, assumed atomic.Int64 // CreateSession and AssumeRole
	fault             atomic.Pointer[http.HandlerFunc]
}

func newAWS(t testing.TB, ca *signertest.CA, change func(*emulator.Config)) *aws {
	t.Helper()
	cfg := emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(ca.Root())}},
		Profiles:     []emulator.Profile{{DurationSeconds: 43200}},
		Roles: []emulator.Role{
			{ARN: baseRole, MaxSessionDuration: 43200},
			{ARN: checkoutRole, TrustPolicy: tagPolicy},
			{ARN: directRole, MaxSessionDuration: 43200},
			{ARN: openRole},
		},
	}
	if change != nil {
		change(&cfg)
	}
	e, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := &aws{emulator: e}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sessions" {
			a.sessions.Add(1)
		} else if r.URL.Path == "/" {
			a.assumed.Add(1) // the tests subtract their own calls of GetCallerIdentity
		}
		if fault := a.fault.Load(); fault != nil {
			(*fault)(w, r)
			return
		}
		e.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		a.CloseClientConnections()
		a.Close()
	})
	return a
}

// agentToken is the token of the agent's own service account.
const agentToken = "s3same-agent-token"

// An apiServer answers TokenReviews, as a real one does.
type apiServer struct {
	*httptest.Server
	reviews atomic.Int64
	fault   atomic.Pointer[http.HandlerFunc]

	mu     sync.Mutex
	tokens map[string]podidentity.Pod
}

func newAPIServer(t testing.TB) *apiServer {
	t.Helper()
	k := &apiServer{tokens: make(map[string]podidentity.Pod)}
	k.Server = httptest.NewUnstartedServer(http.HandlerFunc(k.serve))
	k.EnableHTTP2 = true
	k.StartTLS()
	t.Cleanup(func() {
		k.CloseClientConnections()
		k.Close()
	})
	return k
}

// pod returns a token for a new pod of a service account.
func (k *apiServer) pod(namespace, serviceAccount, name string) (token string) {
	return k.podAt(nodeName, namespace, serviceAccount, name)
}

func (k *apiServer) podAt(node, namespace, serviceAccount, name string) (token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.tokens)
	encode := base64.RawURLEncoding.EncodeToString
	token = encode([]byte(`{"alg":"RS256"}`)) + "." +
		encode(fmt.Appendf(nil, `{"exp":%d,"jti":"%d"}`, time.Now().Add(time.Hour).Unix(), n)) + "." + encode([]byte(strings.Repeat("s3same-signature", 48))) // some 1,100 characters, as a real one has
	k.tokens[token] = podidentity.Pod{Namespace: namespace, ServiceAccount: serviceAccount, Name: name, UID: fmt.Sprintf("00000000-0000-0000-0000-%012d", n), Node: node}
	return token
}

func (k *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	k.reviews.Add(1)
	if fault := k.fault.Load(); fault != nil {
		(*fault)(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+agentToken || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	var review struct {
		Spec struct {
			Token     string
			Audiences []string
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != audience {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	pod, known := k.tokens[review.Spec.Token]
	k.mu.Unlock()
	status := map[string]any{"authenticated": false, "error": "the token is not known"}
	if known {
		const prefix = "authentication.kubernetes.io/"
		status = map[string]any{
			"authenticated": true, "audiences": review.Spec.Audiences,
			"user": map[string]any{
				"username": "system:serviceaccount:" + pod.Namespace + ":" + pod.ServiceAccount,
				"uid":      "11111111-0000-0000-0000-000000000000",
				"groups":   []string{"system:serviceaccounts", "system:serviceaccounts:" + pod.Namespace, "system:authenticated"},
				"extra": map[string][]string{
					prefix + "pod-name": {pod.Name}, prefix + "pod-uid": {pod.UID}, prefix + "node-name": {pod.Node},
				},
			},
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}

// refuseAll is a fault of AWS or of the API server.
func refuseAll(status int) *http.HandlerFunc {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	return &h
}

// logLines returns the records of the log with this message.
func (s *scene) logLines(message string) (lines []map[string]any) {
	for line := range strings.Lines(s.Log.String()) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
			lines = append(lines, record)
		}
	}
	return lines
}
