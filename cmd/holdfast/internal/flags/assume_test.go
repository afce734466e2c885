package flags

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

const testSecond = "arn:aws:iam::444455556666:role/second"

// session returns a valid configuration of a first role.
func session() rolesanywhere.Config {
	const prefix = "arn:aws:rolesanywhere:us-east-1:111122223333:"
	return rolesanywhere.Config{
		TrustAnchorARN: prefix + "trust-anchor/00000000-0000-0000-0000-000000000001",
		ProfileARN:     prefix + "profile/00000000-0000-0000-0000-000000000001",
		RoleARN:        "arn:aws:iam::111122223333:role/first",
	}
}

// second returns the second role from flags and environment.
func second(t *testing.T, env map[string]string, args ...string) (Chain, error) {
	t.Helper()
	var f Assume
	cmd := new(cobra.Command)
	f.Add(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f.Chain(cmd, app(env))
}

// If STS is not reached, and only the first role has an endpoint, the hint says
// that the second one needs another flag.
func TestHintForSTSEndpoint(t *testing.T) {
	reached := source(func() (credentials.Credentials, error) {
		return credentials.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "t", Expires: time.Now().Add(time.Hour)}, nil
	})
	refused := source(func() (credentials.Credentials, error) {
		return credentials.Credentials{}, rolesanywhere.ErrUnreachable
	})
	for _, test := range []struct {
		name, endpoint, sts string
		first               source
		want                bool
	}{
		{"only the first endpoint", "http://127.0.0.1:1", "", reached, true},
		{"both endpoints", "http://127.0.0.1:1", "http://127.0.0.1:1", reached, false},
		{"no endpoint", "", "", reached, false},
		{"first role not reached", "http://127.0.0.1:1", "", refused, false},
	} {
		cfg := session()
		cfg.Endpoint, cfg.MaxAttempts, cfg.Transport = test.endpoint, 1, unreachable{}
		c, err := second(t, nil, "--assume-role-arn", testSecond, "--sts-endpoint="+test.sts)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Source(cfg, test.first)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Credentials(t.Context())
		if !errors.Is(err, rolesanywhere.ErrUnreachable) || strings.Contains(signer.Hint(err), "--sts-endpoint") != test.want {
			t.Errorf("%s: %v, hint %q", test.name, err, signer.Hint(err))
		}
	}
}

type source func() (credentials.Credentials, error)

func (s source) Credentials(context.Context) (credentials.Credentials, error) { return s() }

type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("unreachable")
}

// An endpoint of the environment that cannot be used is an error about the
// variable, but only if STS is called there.
func TestRefusedSTSEndpoint(t *testing.T) {
	fips, insecure := session(), session()
	fips.FIPS, insecure.Insecure = true, true
	for _, test := range []struct {
		variable, value string
		session         rolesanywhere.Config
		ok              bool
	}{
		{"AWS_ENDPOINT_URL_STS", "https://a.example", session(), true},
		{"AWS_ENDPOINT_URL_STS", "ftp://a.example", session(), false},
		{"AWS_ENDPOINT_URL_STS", "https://a.example/path", session(), false},
		{"AWS_ENDPOINT_URL_STS", "http://a.example", session(), false},
		{"AWS_ENDPOINT_URL_STS", "http://a.example", insecure, true},
		{"AWS_ENDPOINT_URL_STS", "https://a.example", fips, false},
		{"AWS_ENDPOINT_URL", "https://a.example", fips, false},
		{"AWS_ENDPOINT_URL", "http://::1:9911", session(), false},
	} {
		env := map[string]string{test.variable: test.value}
		c, err := second(t, env, "--assume-role-arn", testSecond)
		if err != nil || c.Endpoint != test.value {
			t.Fatalf("%v: %q, %v", env, c.Endpoint, err)
		}
		err = c.Check(test.session)
		var usage *front.UsageError
		switch refused := errors.As(err, &usage); {
		case test.ok && err != nil:
			t.Errorf("%v: %v", env, err)
		case !test.ok && (!refused || !strings.Contains(err.Error(), "variable "+test.variable) || !strings.Contains(signer.Hint(err), "unset the variable")):
			t.Errorf("%v: %v, hint %q", env, err, signer.Hint(err))
		}
		for _, args := range [][]string{nil, {"--assume-role-arn", testSecond, "--sts-endpoint", "https://b.example"}} {
			if c, err = second(t, env, args...); err == nil {
				err = c.Check(session())
			}
			if err != nil {
				t.Errorf("%v with %q: %v", env, args, err)
			}
		}
	}
	if _, err := second(t, map[string]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "maybe"}); err == nil {
		t.Error("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=maybe: no error")
	}
}

// AWS_MAX_ATTEMPTS applies to both calls.
func TestMaxAttemptsOfSecondRole(t *testing.T) {
	c, err := second(t, nil, "--assume-role-arn", testSecond)
	if err != nil {
		t.Fatal(err)
	}
	first := session()
	first.MaxAttempts = 7
	if got := c.config(first).MaxAttempts; got != 7 {
		t.Errorf("%d attempts, want 7", got)
	}
}
