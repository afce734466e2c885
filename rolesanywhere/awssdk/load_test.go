package awssdk_test

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/awssdk"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// ways are the caches that can be between the clients of the SDK and the key. Each
// function returns what the clients get, which calls it for each client.
var ways = map[string]func(p *awssdk.Provider) func() aws.CredentialsProvider{
	"no cache of the SDK": func(p *awssdk.Provider) func() aws.CredentialsProvider {
		return func() aws.CredentialsProvider { return p }
	},
	"a cache of the SDK": func(p *awssdk.Provider) func() aws.CredentialsProvider { // as LoadDefaultConfig does
		cache := aws.NewCredentialsCache(p)
		return func() aws.CredentialsProvider { return cache }
	},
	"a cache in each client": func(p *awssdk.Provider) func() aws.CredentialsProvider {
		return func() aws.CredentialsProvider { return aws.NewCredentialsCache(p) }
	},
	"an expiry window": func(p *awssdk.Provider) func() aws.CredentialsProvider {
		cache := aws.NewCredentialsCache(p, func(o *aws.CredentialsCacheOptions) {
			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 50*time.Minute, 0.5
		})
		return func() aws.CredentialsProvider { return cache }
	},
	"a Provider of a Provider's cache": func(p *awssdk.Provider) func() aws.CredentialsProvider {
		return func() aws.CredentialsProvider { return aws.NewCredentialsCache(awssdk.New(p.Cache())) }
	},
}

// However many clients there are, one session is created at a time. The emulator
// takes a second to create one: clients wait for that once, and only if there are no
// valid credentials. It refuses expired credentials, so none are used.
func TestManyClients(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := signertest.NewCA(t, "ca")
				c := startCloud(t, ca, emulator.Faults{Latency: time.Second})
				provider, err := awssdk.FromSigner(identity(t, ca), c.config())
				if err != nil {
					t.Fatal(err)
				}
				credentialsOf := way(provider)
				clients := make([]*sts.Client, 1000)
				for i := range clients {
					clients[i] = c.sts(credentialsOf())
				}
				begin := time.Now()
				for _, step := range []struct {
					at       time.Duration
					clients  int
					sessions int
					wait     time.Duration
				}{
					{0, 100, 1, time.Second},
					{61 * time.Minute, 1000, 2, time.Second},     // over an expiry
					{61*time.Minute + 46*time.Minute, 100, 3, 0}, // which is due by then
					{61*time.Minute + 61*time.Minute, 100, 3, 0}, // which has expired
				} {
					time.Sleep(time.Until(begin.Add(step.at)))
					from := time.Now()
					var wg sync.WaitGroup
					for _, client := range clients[:step.clients] {
						wg.Go(func() {
							if _, err := client.GetCallerIdentity(t.Context(), nil); err != nil {
								t.Error(err)
							}
						})
					}
					wg.Wait()
					if waited := time.Since(from); waited != step.wait {
						t.Errorf("at %v, clients waited %v, want %v", step.at, waited, step.wait)
					}
					time.Sleep(2 * time.Second) // for a renewal in the background
					if n := c.sessions(); n != step.sessions {
						t.Errorf("%d sessions until %v, want %d", n, step.at, step.sessions)
					}
				}
			})
		})
	}
}

// While Roles Anywhere cannot be reached, clients use the credentials until they
// expire. Then they get the error, without more attempts by the SDK.
func TestOutage(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := signertest.NewCA(t, "ca")
				c := startCloud(t, ca, emulator.Faults{})
				provider, err := awssdk.FromSigner(identity(t, ca), c.config())
				if err != nil {
					t.Fatal(err)
				}
				client, begin := c.sts(way(provider)()), time.Now()
				call := func() error {
					_, err := client.GetCallerIdentity(t.Context(), nil)
					return err
				}
				for ; time.Since(begin) < time.Hour; time.Sleep(time.Minute) {
					c.down.Store(time.Since(begin) > 5*time.Minute)
					if err := call(); err != nil {
						t.Fatalf("after %v: %v", time.Since(begin), err)
					}
				}
				for range 10 {
					from := time.Now()
					if err := call(); !errors.Is(err, rolesanywhere.ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("after %v: %v", time.Since(begin), err)
					}
					if waited := time.Since(from); waited > rolesanywhere.DefaultTimeout {
						t.Errorf("waited %v for an error", waited)
					}
					time.Sleep(time.Minute)
				}
				c.down.Store(false)
				synctest.Wait()
				time.Sleep(time.Minute)
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
