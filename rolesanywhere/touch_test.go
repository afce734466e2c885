package rolesanywhere

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// keypad is a key of a device that asks a person for the PIN.
type keypad struct{ *signertest.Fake }

func (keypad) NeedsPerson() bool { return true }

func TestTimeOfSignatures(t *testing.T) {
	const answer = `{"credentialSet":[{"credentials":{"accessKeyId":"ASIAEXAMPLE","secretAccessKey":"s","sessionToken":"t","expiration":"2100-01-01T00:00:00Z"}}]}`
	for _, c := range []struct {
		name           string
		signature, aws time.Duration // how long they take
		touchTimeout   time.Duration
		keypad         bool
		after          time.Duration // of the result
		hint           string        // of the error; "": none
	}{
		{"soon", time.Second, time.Second, 0, false, 2 * time.Second, ""},
		{"mute", time.Hour, 0, 0, false, 8 * time.Second, "Config.TouchTimeout"},
		{"signature and AWS share the time", 5 * time.Second, 5 * time.Second, 0, false, 8 * time.Second, "Config.Timeout"},
		{"touch", 20 * time.Second, 7 * time.Second, 30 * time.Second, false, 27 * time.Second, ""},
		{"no touch", time.Hour, 0, 30 * time.Second, false, 30 * time.Second, "touch the device"},
		{"touch, and AWS does not answer", 20 * time.Second, time.Hour, 30 * time.Second, false, 28 * time.Second, "Config.Timeout"},
		{"keypad", 50 * time.Second, time.Second, 0, true, 51 * time.Second, ""},
		{"keypad that nobody uses", time.Hour, 0, 0, true, 55 * time.Second, "enter the PIN"},
		{"keypad with a time limit", time.Hour, 0, 10 * time.Second, true, 10 * time.Second, "enter the PIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := signertest.NewCA(t, "CA")
			key := signertest.Key(t, "p256")
			cert := ca.Issue(t, key, nil)
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				wait := func(d time.Duration) {
					select {
					case <-time.After(d):
					case <-release:
					}
				}
				fake := &signertest.Fake{Key: key, OnSign: func(int) error { wait(c.signature); return nil }}
				fake.Certificates = append(fake.Certificates, cert)
				var s signer.Signer = fake
				if c.keypad {
					s = keypad{fake}
				}
				client, err := New(Config{
					Signer: s, TouchTimeout: c.touchTimeout, Now: func() time.Time { return cert.NotBefore.Add(time.Minute) },
					TrustAnchorARN: keyARN + "trust-anchor/00000000-0000-0000-0000-000000000001",
					ProfileARN:     keyARN + "profile/00000000-0000-0000-0000-000000000001",
					RoleARN:        "arn:aws:iam::111122223333:role/demo",
					Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						select {
						case <-time.After(c.aws):
							return &http.Response{StatusCode: 201, Body: io.NopCloser(strings.NewReader(answer))}, nil
						case <-r.Context().Done():
							return nil, context.Cause(r.Context())
						}
					}),
				})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				_, err = client.Credentials(t.Context())
				if after := time.Since(begin); after != c.after {
					t.Errorf("returned after %v, want %v", after, c.after)
				}
				switch {
				case c.hint == "" && err != nil:
					t.Error(err)
				case c.hint != "" && (!errors.Is(err, context.DeadlineExceeded) || !strings.Contains(signer.Hint(err), c.hint)):
					t.Errorf("%v; hint: %s", err, signer.Hint(err))
				case c.signature == time.Hour && (!errors.Is(err, signer.ErrUnavailable) || fake.Signs() != 1):
					t.Errorf("%v, %d signatures", err, fake.Signs())
				}
				close(release)
				synctest.Wait()
			})
		})
	}
}

func TestTouchTimeoutIsLimited(t *testing.T) {
	for _, d := range []time.Duration{-time.Second, MaxTouchTimeout + 1} {
		cfg := Config{TouchTimeout: d,
			TrustAnchorARN: keyARN + "trust-anchor/00000000-0000-0000-0000-000000000001",
			ProfileARN:     keyARN + "profile/00000000-0000-0000-0000-000000000001",
			RoleARN:        "arn:aws:iam::111122223333:role/demo"}
		if err := cfg.Check(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "touch timeout") {
			t.Errorf("%v: %v", d, err)
		}
	}
}
