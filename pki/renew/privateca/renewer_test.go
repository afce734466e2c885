package privateca_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/privateca"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A lossy server passes requests to the emulator, and breaks the connection in the
// place of the answer to an action, as often as lose says.
type lossy struct {
	*testing.T
	emulator *emulator.Server
	lose     map[string]int    // by action
	issued   map[string]string // ARNs of certificates by token
}

func (l *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		l.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	l.emulator.ServeHTTP(answer, r)
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if action == "IssueCertificate" && answer.Code == http.StatusOK {
		var in struct{ IdempotencyToken string }
		var out struct{ CertificateArn string }
		if err := errors.Join(json.Unmarshal(body, &in), json.Unmarshal(answer.Body.Bytes(), &out)); err != nil {
			l.Error(err)
		}
		if arn, again := l.issued[in.IdempotencyToken]; again && arn != out.CertificateArn {
			l.Errorf("the token %s brought %s and %s", in.IdempotencyToken, arn, out.CertificateArn)
		}
		l.issued[in.IdempotencyToken] = out.CertificateArn
	}
	if l.lose[action] > 0 {
		l.lose[action]--
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // the client may have hung up
}

// A renewal whose answers are lost gets the same certificate when it is tried again.
// Each new certificate gets the session for the next one.
func TestRenewer(t *testing.T) {
	root := signertest.NewCA(t, "root")
	key := signer.FromKey(signertest.Key(t, "p256"))
	current := signer.WithCertificates(key, signer.Certificates{Chain: []*x509.Certificate{root.Issue(t, key, nil)}})
	aws, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(root.Cert)}},
		PrivateCA:    emulator.PrivateCA{Key: root.Key}, Faults: emulator.Faults{InProgress: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{t, aws, map[string]int{}, map[string]string{}}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	way, err := privateca.New(privateca.Config{
		CAARN: aws.PrivateCAARN(), Endpoint: server.URL,
		Session: func(ctx context.Context, inUse signer.Signer) (credentials.Credentials, error) {
			client, err := rolesanywhere.New(rolesanywhere.Config{
				Signer: inUse, TrustAnchorARN: aws.TrustAnchorARNs()[0], ProfileARN: aws.ProfileARNs()[0], RoleARN: aws.RoleARNs()[0], Endpoint: server.URL,
			})
			if err != nil {
				return credentials.Credentials{}, err
			}
			return client.Credentials(ctx)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := renew.Config{
		Way: way, StateFile: filepath.Join(t.TempDir(), "state"), AllowChange: true,
		Open: func(context.Context) (signer.Signer, error) { return signer.WithContext(t.Context(), current), nil },
		Install: func(_ context.Context, _ *x509.Certificate, _ string, chain []*x509.Certificate) (err error) {
			current, err = signer.Bind(key, chain, time.Now())
			return err
		},
	}
	for round := range 3 {
		before := current.Chain()[0]
		lost := []map[string]int{{"IssueCertificate": 1}, {"GetCertificate": 1}, {}}[round]
		l.lose = lost
		for range len(lost) {
			if _, err := renew.New(config).Renew(t.Context()); !errors.Is(err, renew.ErrUnreachable) || !current.Chain()[0].Equal(before) {
				t.Errorf("round %d: %v", round, err)
			}
		}
		renewed, err := renew.New(config).Renew(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if renewed.Equal(before) || !renewed.Equal(current.Chain()[0]) || len(l.issued) != round+1 {
			t.Errorf("round %d: %d certificates", round, len(l.issued))
		}
		config.AllowChange = false
	}
}
