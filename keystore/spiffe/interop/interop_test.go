package interop_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // a server that could compress
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/spiffe"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const app = "spiffe://example.org/app"

// An api is a Workload API of grpc-go.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	uri string
	ref keystore.Ref

	mu       sync.Mutex
	response *workload.X509SVIDResponse
	err      error
	changed  chan struct{}
}

func start(t *testing.T, network string, svids ...spiffetest.SVID) *api {
	a := &api{changed: make(chan struct{}), response: response(t, svids...)}
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "spiffe") // t.TempDir can be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		address = filepath.Join(dir, "api.sock")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	a.uri = network + "://" + l.Addr().String()
	if a.ref, err = keystore.ParseRef("spiffe:socket=" + a.uri); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return a
}

func response(t *testing.T, svids ...spiffetest.SVID) *workload.X509SVIDResponse {
	r := &workload.X509SVIDResponse{Crl: [][]byte{{1}}, FederatedBundles: map[string][]byte{"spiffe://example.com": {1}, "spiffe://example.net": {2}}}
	for _, s := range svids {
		key, err := x509.MarshalPKCS8PrivateKey(s.Key)
		if err != nil {
			t.Fatal(err)
		}
		var chain []byte
		for _, c := range s.Chain {
			chain = append(chain, c.Raw...)
		}
		r.Svids = append(r.Svids, &workload.X509SVID{SpiffeId: s.ID, X509Svid: chain, X509SvidKey: key, Bundle: chain, Hint: s.Hint})
	}
	return r
}

func (a *api) set(r *workload.X509SVIDResponse, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.response, a.err = r, err
	close(a.changed)
	a.changed = make(chan struct{})
}

// FetchX509SVID implements the API as the specification says.
func (a *api) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if values := md.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		a.mu.Lock()
		r, err, changed := a.response, a.err, a.changed
		a.mu.Unlock()
		if err != nil {
			return err
		}
		if err := stream.Send(r); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func TestContract(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, kind := range []string{"p256", "rsa2048"} {
			t.Run(network+" "+kind, func(t *testing.T) {
				ca := signertest.NewCA(t, "root").Intermediate(t, "SPIRE")
				a := start(t, network, spiffetest.Issue(t, ca, kind, app, nil))
				signertest.Run(t, func(t *testing.T) signer.Signer {
					key, err := keystore.New(spiffe.Backend{}).Open(t.Context(), a.ref, keystore.Options{})
					if err != nil {
						t.Fatal(err)
					}
					return key
				})
			})
		}
	}
}

func TestVariable(t *testing.T) {
	a := start(t, "unix", spiffetest.Issue(t, signertest.NewCA(t, "root"), "p256", app, nil))
	opts := keystore.Options{LookupEnv: func(name string) (string, bool) { return a.uri, name == "SPIFFE_ENDPOINT_SOCKET" }}
	entries, err := keystore.New(spiffe.Backend{}).List(t.Context(), keystore.Ref{Scheme: "spiffe"}, opts)
	if err != nil || len(entries) != 2 || entries[0].Ref.String() != app {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestErrors(t *testing.T) {
	a := start(t, "unix")
	for code, want := range map[codes.Code]error{codes.PermissionDenied: signer.ErrNotFound, codes.Unavailable: signer.ErrUnavailable, codes.Internal: nil, codes.Unimplemented: nil} {
		a.set(nil, status.Error(code, "why: 100 % ü"))
		_, err := keystore.New(spiffe.Backend{}).Open(t.Context(), a.ref, keystore.Options{})
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), code.String()+`: "why: 100 % ü"`) {
			t.Errorf("%v: %v", code, err)
		}
	}
	big := make([]byte, 2<<20)
	a.set(&workload.X509SVIDResponse{Crl: [][]byte{big}}, nil)
	if _, err := keystore.New(spiffe.Backend{}).Open(t.Context(), a.ref, keystore.Options{}); err == nil || !strings.Contains(err.Error(), "at most 1048576") {
		t.Error(err)
	}
	a.set(&workload.X509SVIDResponse{}, nil)
	if _, err := keystore.New(spiffe.Backend{}).Open(t.Context(), a.ref, keystore.Options{}); !errors.Is(err, signer.ErrNotFound) {
		t.Error(err)
	}
}

// A message near the limit is read, which needs many frames of HTTP/2 and updates of its
// window.
func TestBigMessage(t *testing.T) {
	svid := spiffetest.Issue(t, signertest.NewCA(t, "root"), "p256", app, nil)
	a := start(t, "unix")
	r := response(t, svid)
	r.Crl = [][]byte{make([]byte, 1<<20-8<<10)}
	a.set(r, nil)
	if _, err := keystore.New(spiffe.Backend{}).Open(t.Context(), a.ref, keystore.Options{}); err != nil {
		t.Error(err)
	}
}

// The API rotates the SVID, and the identity of package rotate follows.
func TestRotation(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	next := func() spiffetest.SVID { return spiffetest.Issue(t, ca, "p256", app, nil) }
	first := next()
	a := start(t, "unix", first)
	store := keystore.New(spiffe.Backend{})
	reloaded := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	id, err := rotate.New(ctx, rotate.Config{
		Open:     func(ctx context.Context) (signer.Signer, error) { return store.Open(ctx, a.ref, keystore.Options{}) },
		Reloaded: func(context.Context) { reloaded <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer id.Close()
	var running sync.WaitGroup
	running.Go(func() { _ = id.Run(ctx) })
	running.Go(func() {
		_ = store.Watch(ctx, keystore.Identity{Key: a.ref}, keystore.Options{}, func(leaf *x509.Certificate) {
			if !leaf.Equal(id.Chain()[0]) {
				id.RequestReload()
			}
		})
	})
	if !id.Chain()[0].Equal(first.Chain[0]) {
		t.Error("the first SVID is not in use")
	}
	for range 5 {
		svid := next()
		a.set(response(t, svid), nil)
		<-reloaded
		if !id.Chain()[0].Equal(svid.Chain[0]) {
			t.Error("the next SVID is not in use")
		}
	}
	stop()
	running.Wait()
}
