package assume

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	baseRole  = "arn:aws:iam::111122223333:role/base"
	otherRole = "arn:aws:iam::444455556666:role/team/other"
)

// chain returns a config that assumes otherRole, which has this trust policy,
// with a session of Roles Anywhere for baseRole. Both are at an emulator.
func chain(t *testing.T, policy string, change func(*emulator.Config)) Config {
	t.Helper()
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	s, err := signer.Bind(signer.FromKey(key), append(ca.Chain(), ca.Issue(t, key, nil)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	cfg := emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(ca.Root())}},
		Roles:        []emulator.Role{{ARN: baseRole}, {ARN: otherRole, TrustPolicy: policy}},
	}
	if change != nil {
		change(&cfg)
	}
	e, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	source, err := rolesanywhere.New(rolesanywhere.Config{
		Signer: s, TrustAnchorARN: e.TrustAnchorARNs()[0], ProfileARN: e.ProfileARNs()[0], RoleARN: baseRole, Endpoint: server.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Source: source, RoleARN: otherRole, Region: "us-east-1", Endpoint: server.URL}
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(context.Context, time.Duration) error { return nil }
	return c
}

func TestCredentials(t *testing.T) {
	policy := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + baseRole + `"},
		"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],"Condition":{"StringEquals":{
			"sts:ExternalId":"a:b/c","sts:RoleSessionName":"me","aws:RequestTag/Team name":"blue & \"green\"","aws:RequestTag/Empty":""},
			"ForAllValues:StringEquals":{"sts:TransitiveTagKeys":"Team name"}}}}`
	policy = strings.ReplaceAll(policy, ` & \"green\"`, "/grün+=")
	cfg := chain(t, policy, nil)
	cfg.SessionName, cfg.ExternalID, cfg.Duration = "me", "a:b/c", 15*time.Minute
	cfg.Tags = map[string]string{"Team name": "blue/grün+=", "Empty": ""}
	cfg.TransitiveTagKeys = []string{"Team name"}
	begin := time.Now()
	creds, err := newClient(t, cfg).Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := creds.Expires.Sub(begin); d < 15*time.Minute-time.Second || d > 16*time.Minute || creds.AccountID != "444455556666" {
		t.Errorf("%v, account %s, valid for %v", creds, creds.AccountID, d)
	}
	got, err := emulator.GetCallerIdentity(t.Context(), nil, cfg.Endpoint, creds, time.Now())
	if err != nil || got.ARN != "arn:aws:sts::444455556666:assumed-role/other/me" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDefaults(t *testing.T) {
	cfg := chain(t, "", nil)
	creds, err := newClient(t, cfg).Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Until(creds.Expires); d < 59*time.Minute || d > time.Hour {
		t.Errorf("valid for %v", d)
	}
	got, err := emulator.GetCallerIdentity(t.Context(), nil, cfg.Endpoint, creds, time.Now())
	if err != nil || got.ARN != "arn:aws:sts::444455556666:assumed-role/other/holdfast" {
		t.Errorf("%v, %v", got, err)
	}
}

// A third role needs no further code: a Client is also a Source.
func TestLongerChain(t *testing.T) {
	cfg := chain(t, "", nil)
	cfg.Tags, cfg.TransitiveTagKeys = map[string]string{"Team": "blue"}, []string{"Team"}
	next := Config{Source: newClient(t, cfg), RoleARN: baseRole, SessionName: "third", Region: cfg.Region, Endpoint: cfg.Endpoint}
	creds, err := newClient(t, next).Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := emulator.GetCallerIdentity(t.Context(), nil, cfg.Endpoint, creds, time.Now())
	if err != nil || got.ARN != "arn:aws:sts::111122223333:assumed-role/base/third" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestConcurrency(t *testing.T) {
	c := newClient(t, chain(t, "", nil))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := c.Credentials(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestRefused(t *testing.T) {
	allow := func(actions string) string {
		return `{"Statement":{"Effect":"Allow","Principal":"*","Action":` + actions + `}}`
	}
	for _, tt := range []struct {
		name, policy string
		change       func(*Config)
		code, hint   string
	}{
		{"source identity", allow(`"sts:AssumeRole"`), nil, "AccessDenied", "add sts:SetSourceIdentity"},
		{"tags", allow(`["sts:AssumeRole","sts:SetSourceIdentity"]`), func(c *Config) { c.Tags = map[string]string{"a": "b"} }, "AccessDenied", "add sts:TagSession"},
		{"nothing", allow(`"sts:SetSourceIdentity"`), nil, "AccessDenied", "must exist; its trust policy must allow sts:AssumeRole, sts:SetSourceIdentity"},
		{"unknown role", "", func(c *Config) { c.RoleARN += "2" }, "AccessDenied", "must allow sts:AssumeRole"},
		{"another source identity", "", func(c *Config) { c.SourceIdentity = "me" }, "AccessDenied", ""},
	} {
		cfg := chain(t, tt.policy, nil)
		if tt.change != nil {
			tt.change(&cfg)
		}
		_, err := newClient(t, cfg).Credentials(t.Context())
		var api *rolesanywhere.APIError
		if !errors.As(err, &api) || api.Code != tt.code || api.RequestID == "" || !strings.Contains(err.Error(), cfg.RoleARN) || !strings.Contains(signer.Hint(err), tt.hint) {
			t.Errorf("%s: %v, hint %q", tt.name, err, signer.Hint(err))
		}
		if errors.Is(err, rolesanywhere.ErrUnreachable) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// An error of the Source is returned as it is.
func TestSourceFails(t *testing.T) {
	why := errors.New("no key")
	c := newClient(t, Config{Source: source(func() (credentials.Credentials, error) { return credentials.Credentials{}, why }), RoleARN: otherRole, Region: "us-east-1"})
	if _, err := c.Credentials(t.Context()); err != why {
		t.Error(err)
	}
}

type source func() (credentials.Credentials, error)

func (s source) Credentials(context.Context) (credentials.Credentials, error) { return s() }
