package rotate_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var pkcs1 = []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}

// handshake connects a server and a client, and returns their leaf certificates.
func handshake(server, client *tls.Config) (serverLeaf, clientLeaf *x509.Certificate, _ error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	s, c := tls.Server(a, server), tls.Client(b, client)
	go func() {
		defer a.Close()
		_, err := s.Write([]byte{1}) // a client learns only after its handshake that it was rejected
		done <- err
	}()
	_, err := c.Read(make([]byte, 1))
	b.Close()
	if err := errors.Join(err, <-done); err != nil {
		return nil, nil, err
	}
	return c.ConnectionState().PeerCertificates[0], s.ConnectionState().PeerCertificates[0], nil
}

// On both sides, each handshake uses the key that is current when the handshake
// begins, and returns it afterwards.
func TestTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := newOpener(t), newOpener(t)
				serverID, clientID := server.identity(), client.identity()
				roots := func(o *opener) *x509.CertPool {
					pool := x509.NewCertPool()
					pool.AddCert(o.ca.Cert)
					return pool
				}
				serverConfig := &tls.Config{MinVersion: version, MaxVersion: version, GetCertificate: serverID.GetCertificate,
					ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots(client)}
				clientConfig := &tls.Config{MinVersion: version, MaxVersion: version, GetClientCertificate: clientID.GetClientCertificate,
					InsecureSkipVerify: true} // the test certificates are client certificates
				for range 3 {
					keys := [2]*failingKey{server.key, client.key}
					atServer, atClient, err := handshake(serverConfig, clientConfig)
					if err != nil {
						t.Fatal(err)
					}
					if !atServer.Equal(keys[0].Chain()[0]) || !atClient.Equal(keys[1].Chain()[0]) {
						t.Error("the handshake did not use the current certificate")
					}
					synctest.Wait()
					for i, o := range []*opener{server, client} {
						o.new("p256")
						if err := []*rotate.Identity{serverID, clientID}[i].Reload(t.Context()); err != nil {
							t.Error(err)
						}
						if n := keys[i].closed.Load(); n != 1 {
							t.Errorf("closed %d times, want 1: the handshake did not return the key", n)
						}
					}
				}
				// crypto/tls does not wrap the error of Sign.
				server.key.err = signer.ErrUnavailable
				if _, _, err := handshake(serverConfig, clientConfig); err == nil {
					t.Error("no error although the device is unavailable")
				}
				synctest.Wait()
				if n := server.key.closed.Load(); n != 1 {
					t.Errorf("key with an unavailable device: closed %d times, want 1", n)
				}
				server.new("p256")
				if _, _, err := handshake(serverConfig, clientConfig); err != nil {
					t.Errorf("after the device became available again: %v", err)
				}
				serverID.Close()
				if _, _, err := handshake(serverConfig, clientConfig); err == nil {
					t.Error("no error after Close")
				}
			})
		})
	}
}

// A handshake uses only signature schemes that the key supports.
func TestTLSWithLimitedKey(t *testing.T) {
	key := signertest.Key(t, "rsa2048")
	limited := &signertest.LimitedFake{Fake: signertest.Fake{Key: key, Certificates: []*x509.Certificate{signertest.NewCA(t, "root").Issue(t, key, nil)}}, Schemes: pkcs1}
	id := identity(t, rotate.Config{Open: open(limited)})
	peer := newOpener(t).identity()
	client := &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, GetClientCertificate: peer.GetClientCertificate}
	server := &tls.Config{GetCertificate: id.GetCertificate, ClientAuth: tls.RequireAnyClientCert}
	if _, _, err := handshake(server, client); err != nil {
		t.Error(err)
	}
}

// A device that hangs does not hold a handshake after its context has ended.
func TestTLSEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpener(t)
		release, begun := make(chan struct{}), make(chan struct{})
		o.key.onSign = func() { close(begun); <-release }
		id := o.identity()
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		client := make(chan error, 1)
		go func() { client <- tls.Client(b, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := tls.Server(a, &tls.Config{GetCertificate: id.GetCertificate}).HandshakeContext(ctx); err == nil {
			t.Error("the handshake succeeded")
		}
		<-begun
		if err := <-client; err == nil {
			t.Error("the client completed the handshake")
		}
		close(release)
	})
}
