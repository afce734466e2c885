package awssdk_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/awssdk"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func session(key string, expires time.Time) credentials.Credentials {
	return credentials.Credentials{
		AccessKeyID: key, SecretAccessKey: "secret", SessionToken: "token", Expires: expires, AccountID: "111122223333",
	}
}

// The clock is that of the cache.
func TestRetrieve(t *testing.T) {
	now := time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct{ life, window, least, most time.Duration }{
		{time.Hour, 0, 24 * time.Minute, 45 * time.Minute},
		{12 * time.Hour, 0, 6 * time.Hour, 10*time.Hour + 12*time.Minute},
		{time.Hour, 5 * time.Minute, 34 * time.Minute, 55 * time.Minute},
		{time.Hour, 2 * time.Hour, 19 * time.Minute, 40 * time.Minute},
		{15 * time.Minute, 0, 4*time.Minute + 40*time.Second, 10 * time.Minute},
		{2 * time.Minute, 0, time.Minute, 80 * time.Second},
		{time.Minute, 0, time.Minute, time.Minute},
		{time.Second, 0, time.Second, time.Second},
		{time.Hour, time.Second, 38 * time.Minute, time.Hour - time.Second},
	} {
		want := session("ASIAEXAMPLE", now.Add(test.life))
		provider := awssdk.New(&credentials.Cache{
			Source: source(func(context.Context) (credentials.Credentials, error) { return want, nil }),
			Window: test.window, Now: func() time.Time { return now },
		})
		got, err := provider.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if after := got.Expires.Sub(now); after < test.least || after > test.most {
			t.Errorf("life %v, window %v: the SDK asks again after %v", test.life, test.window, after)
		}
		got.Expires = time.Time{}
		if got != (aws.Credentials{
			AccessKeyID: want.AccessKeyID, SecretAccessKey: want.SecretAccessKey, SessionToken: want.SessionToken,
			Source: "Holdfast", CanExpire: true, AccountID: want.AccountID,
		}) {
			t.Errorf("life %v, window %v: %+v", test.life, test.window, got)
		}
	}
}

// While time passes in leaps, sessions are short and their source fails, neither the
// Provider nor a cache of the SDK returns expired credentials.
func TestNeverExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var expires sync.Map // by access key ID
		provider := awssdk.New(source(func(context.Context) (credentials.Credentials, error) {
			if rand.N(3) == 0 {
				return credentials.Credentials{}, errors.New("no luck")
			}
			c := session(fmt.Sprint("ASIA", rand.Uint64()), time.Now().Add(rand.N(time.Hour)-time.Minute))
			expires.Store(c.AccessKeyID, c.Expires)
			return c, nil
		}))
		for _, way := range ways {
			p, ok := way(provider)(), 0
			for range 5000 {
				time.Sleep(rand.N(10 * time.Minute))
				synctest.Wait()
				c, err := p.Retrieve(t.Context())
				if err != nil {
					continue
				}
				ok++
				if end, _ := expires.Load(c.AccessKeyID); !end.(time.Time).After(time.Now()) || c.Expired() {
					t.Fatalf("%T: at %v got credentials until %v, which expire at %v", p, time.Now(), c.Expires, end)
				}
			}
			if ok < 2500 {
				t.Errorf("%T: %d times credentials", p, ok)
			}
		}
	})
}

// A window of the SDK's cache does not make it ask for the same credentials again and
// again.
func TestExpiryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &counter{Provider: awssdk.New(source(func(context.Context) (credentials.Credentials, error) {
			return session("ASIAEXAMPLE", time.Now().Add(time.Hour)), nil
		}))}
		cache := aws.NewCredentialsCache(p, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 50 * time.Minute })
		for range 23 * 60 {
			if _, err := cache.Retrieve(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if p.calls != 1 {
			t.Errorf("the cache of the SDK asked %d times", p.calls)
		}
	})
}

// A counter counts the calls of Retrieve.
type counter struct {
	*awssdk.Provider
	calls int
}

func (c *counter) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c.calls++
	return c.Provider.Retrieve(ctx)
}

// The end of a context ends the wait of its caller alone.
func TestCanceled(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := signertest.NewCA(t, "ca")
				c := startCloud(t, ca, emulator.Faults{})
				real, err := rolesanywhere.New(withSigner(c.config(), identity(t, ca)))
				if err != nil {
					t.Fatal(err)
				}
				credentialsOf := way(awssdk.New(source(func(ctx context.Context) (credentials.Credentials, error) {
					time.Sleep(time.Minute) // without regard for ctx
					return real.Credentials(ctx)
				})))
				impatient, patient := c.sts(credentialsOf()), c.sts(credentialsOf())
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				if _, err := impatient.GetCallerIdentity(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if waited := time.Since(begin); waited != time.Second {
					t.Errorf("waited %v", waited)
				}
				if _, err := patient.GetCallerIdentity(t.Context(), nil); err != nil {
					t.Error(err)
				}
				if waited := time.Since(begin); waited != time.Minute || c.sessions() != 1 {
					t.Errorf("waited %v for %d sessions", waited, c.sessions())
				}
			})
		})
	}
}

func withSigner(cfg rolesanywhere.Config, key signer.Signer) rolesanywhere.Config {
	cfg.Signer = key
	return cfg
}

// FromSigner and FromIdentity use the clock of the Config for the cache.
func TestFrom(t *testing.T) {
	ca := signertest.NewCA(t, "ca")
	c := startCloud(t, ca, emulator.Faults{})
	key := identity(t, ca)
	rotating, err := rotate.New(t.Context(), rotate.Config{Open: func(context.Context) (signer.Signer, error) { return identity(t, ca), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer rotating.Close()
	var ahead time.Duration
	cfg := c.config()
	cfg.Now = func() time.Time { return time.Now().Add(ahead) }
	for name, from := range map[string]func() (*awssdk.Provider, error){
		"signer":   func() (*awssdk.Provider, error) { return awssdk.FromSigner(key, cfg) },
		"identity": func() (*awssdk.Provider, error) { return awssdk.FromIdentity(rotating, cfg) },
	} {
		before := c.sessions()
		ahead = 0
		provider, err := from()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.sts(provider).GetCallerIdentity(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ahead = 2 * time.Hour // the credentials have expired, and the new ones would have, too
		if got, err := provider.Retrieve(t.Context()); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
		if n := c.sessions() - before; n < 2 {
			t.Errorf("%s: %d sessions", name, n)
		}
	}
	for name, from := range map[string]func() (*awssdk.Provider, error){
		"no signer":         func() (*awssdk.Provider, error) { return awssdk.FromSigner(nil, cfg) },
		"two signers":       func() (*awssdk.Provider, error) { return awssdk.FromSigner(key, withSigner(cfg, key)) },
		"no ARN":            func() (*awssdk.Provider, error) { return awssdk.FromSigner(key, rolesanywhere.Config{}) },
		"no identity":       func() (*awssdk.Provider, error) { return awssdk.FromIdentity(nil, cfg) },
		"identity, signer":  func() (*awssdk.Provider, error) { return awssdk.FromIdentity(rotating, withSigner(cfg, key)) },
		"identity, no ARNs": func() (*awssdk.Provider, error) { return awssdk.FromIdentity(rotating, rolesanywhere.Config{}) },
	} {
		if p, err := from(); p != nil || !errors.Is(err, rolesanywhere.ErrConfig) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}
