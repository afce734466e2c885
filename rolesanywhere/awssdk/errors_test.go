package awssdk_test

import (
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/awssdk"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// An error of GetCallerIdentity wraps that of the source and ends with its hint, and
// the SDK does not try again. docs/awssdk.md shows the texts.
func TestErrors(t *testing.T) {
	page, err := os.ReadFile("../../docs/awssdk.md")
	if err != nil {
		t.Fatal(err)
	}
	ca, key := signertest.NewCA(t, "ca"), signertest.Key(t, "p256")
	issued := func(by *signertest.CA) []*x509.Certificate { return []*x509.Certificate{by.Issue(t, key, nil)} }
	for name, test := range map[string]struct {
		key    *signertest.Fake
		change func(c *cloud, cfg *rolesanywhere.Config)
		is     func(error) bool
		sent   int32  // requests
		says   string // also the page
	}{
		"the certificate is refused": {
			key:  &signertest.Fake{Key: key, Certificates: issued(signertest.NewCA(t, "other"))},
			is:   isA[*rolesanywhere.APIError],
			sent: 1,
			says: " returned status 403: AccessDeniedException: Untrusted signing certificate",
		},
		"the network is down": {
			key:    &signertest.Fake{Key: key, Certificates: issued(ca)},
			change: func(c *cloud, cfg *rolesanywhere.Config) { c.down.Store(true); cfg.MaxAttempts = 1 },
			is:     func(err error) bool { return errors.Is(err, rolesanywhere.ErrUnreachable) },
			sent:   1,
			says:   "; hint: check the network, the endpoint and the proxy (HTTPS_PROXY, NO_PROXY)",
		},
		"the PIN is missing": {
			key: &signertest.Fake{Key: key, Certificates: issued(ca), OnSign: func(int) error {
				return signer.WithHint(signer.ErrPINRequired, "give it with Options.PIN")
			}},
			is:   func(err error) bool { return errors.Is(err, signer.ErrPINRequired) },
			says: "sign request: PIN required; hint: ",
		},
		"the certificate has expired": {
			key: &signertest.Fake{Key: key, Certificates: issued(ca)},
			change: func(_ *cloud, cfg *rolesanywhere.Config) {
				cfg.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
			},
			is:   isA[*rolesanywhere.CertificateError],
			says: "; hint: renew the certificate, or correct the clock",
		},
		"the key is closed": {
			key:  closed(&signertest.Fake{Key: key, Certificates: issued(ca)}),
			is:   func(err error) bool { return errors.Is(err, signer.ErrClosed) },
			says: "sign request: signer is closed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCloud(t, ca, emulator.Faults{})
			cfg := c.config()
			if test.change != nil {
				test.change(c, &cfg)
			}
			for _, cached := range []bool{true, false} {
				provider, err := awssdk.FromSigner(test.key, cfg)
				if err != nil {
					t.Fatal(err)
				}
				calls := &counter{Provider: provider}
				var credentials aws.CredentialsProvider = calls
				if cached {
					credentials = aws.NewCredentialsCache(calls)
				}
				c.requests.Store(0)
				_, err = c.sts(credentials).GetCallerIdentity(t.Context(), nil)
				if !test.is(err) || !strings.Contains(err.Error(), test.says) || !strings.HasSuffix(err.Error(), signer.Hint(err)) {
					t.Errorf("error %v; hint %s", err, signer.Hint(err))
				}
				const refresh = "get credentials: failed to refresh cached credentials, "
				if strings.Contains(err.Error(), refresh) != cached {
					t.Errorf("cached: %t, error %v", cached, err)
				}
				if n := c.requests.Load(); calls.calls != 1 || n != test.sent {
					t.Errorf("the SDK asked %d times; %d requests", calls.calls, n)
				}
			}
			if !strings.Contains(string(page), test.says) {
				t.Errorf("docs/awssdk.md does not show %q", test.says)
			}
		})
	}
}

func isA[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func closed(key *signertest.Fake) *signertest.Fake {
	key.Close()
	return key
}
