package podidentity

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

const testNode = "node-1.example.com"

// makeToken returns a token with these claims and a signature that is the same text for
// each id, so that tests can look for it.
func makeToken(claims, id string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","kid":"test"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("the signature of "+id))
}

func tokenUntil(expires time.Time, id string) string {
	return makeToken(fmt.Sprintf(`{"exp":%d,"jti":%q}`, expires.Unix(), id), id)
}

// attested returns the answer of the API server for a good token of a pod.
func attested(pod Pod, audience string) answer {
	var a answer
	a.APIVersion, a.Kind = apiVersion, kind
	a.Status.Authenticated = true
	a.Status.Audiences = []string{audience}
	a.Status.User.Username = "system:serviceaccount:" + pod.Namespace + ":" + pod.ServiceAccount
	a.Status.User.Extra = map[string][]string{
		extraPrefix + "pod-name": {pod.Name}, extraPrefix + "pod-uid": {pod.UID}, extraPrefix + "node-name": {pod.Node},
		extraPrefix + "node-uid": {"n-1"}, extraPrefix + "credential-id": {"JTI=1"},
	}
	return a
}

var testPod = Pod{"shop", "cart", "cart-7d4b9", "0b0a1c5e-5d1f-4d5c-8a3e-6f2f1e0c9d11", testNode}

// goodAnswer returns the body for testPod, after a change.
func goodAnswer(change func(*answer)) []byte {
	a := attested(testPod, DefaultAudience)
	if change != nil {
		change(&a)
	}
	b, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	return b
}

// An apiServer answers reviews without a network. answer returns the body for a token.
type apiServer struct {
	answer func(r *http.Request, token string) (status int, body []byte, err error)

	mu     sync.Mutex
	asked  []string // tokens
	authed []string // Authorization headers
}

func (s *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || r.URL.String() != "https://kubernetes.test/apis/authentication.k8s.io/v1/tokenreviews" || r.Header.Get("Content-Type") != "application/json" {
		return nil, fmt.Errorf("%s %s is not a review", r.Method, r.URL)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	if q.APIVersion != apiVersion || q.Kind != kind || len(q.Spec.Audiences) != 1 {
		return nil, errors.New("not a TokenReview")
	}
	s.mu.Lock()
	s.asked = append(s.asked, q.Spec.Token)
	s.authed = append(s.authed, r.Header.Get("Authorization"))
	s.mu.Unlock()
	status, answer := http.StatusCreated, goodAnswer(nil)
	if s.answer != nil {
		if status, answer, err = s.answer(r, q.Spec.Token); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(answer)), Request: r}, nil
}

func (s *apiServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *apiServer) reviewer() *Reviewer {
	return &Reviewer{Server: "https://kubernetes.test", Node: testNode, Transport: s}
}

// A testSource creates credentials that live for some time.
type testSource struct {
	life, takes time.Duration
	fail        func(call int) error // nil: never

	mu               sync.Mutex
	calls, cancelled int
}

func (s *testSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.mu.Unlock()
	if err := await.Pause(ctx, s.takes); err != nil {
		s.mu.Lock()
		s.cancelled++
		s.mu.Unlock()
		return credentials.Credentials{}, err
	}
	if s.fail != nil {
		if err := s.fail(n); err != nil {
			return credentials.Credentials{}, err
		}
	}
	return credentials.Credentials{
		AccessKeyID: fmt.Sprintf("ASIAEXAMPLE%d", n), SecretAccessKey: "the/secret+key", SessionToken: strings.Repeat("token", 200),
		Expires: time.Now().Add(s.life), AccountID: "111122223333",
	}, nil
}

func (s *testSource) count() (calls, cancelled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.cancelled
}

func (s *testSource) grant(key string) Grant {
	return Grant{Key: key, RoleARN: "arn:aws:iam::111122223333:role/" + key, Open: func() (credentials.Source, error) { return s, nil }}
}
