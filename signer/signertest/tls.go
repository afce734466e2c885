package signertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

type tlsSide int

const (
	asServer tlsSide = iota
	asClient
)

func checkTLS(version uint16, side tlsSide) func(testing.TB, signer.Signer, mode) error {
	return func(tb testing.TB, s signer.Signer, m mode) error {
		tb.Helper()
		requests, err := requestsFor(s, m)
		if err != nil {
			return err
		}
		usable := slices.ContainsFunc(requests, func(r request) bool { return usableIn(version, r.tls, s.Public()) })

		ca := NewCA(tb, "root")
		if len(s.Chain()) == 0 {
			if _, err := x509.MarshalPKIXPublicKey(s.Public()); err != nil && isMLDSA(s.Public()) {
				tb.Logf("no handshake, because there is no certificate for the key, and none can be made: %v", err)
				return nil
			}
			if s, err = signer.Bind(s, []*x509.Certificate{ca.Issue(tb, s, nil)}, time.Now()); err != nil {
				return err
			}
		}
		other := Key(tb, "p256")
		peer, err := signer.Bind(signer.FromKey(other), []*x509.Certificate{ca.Issue(tb, other, nil)}, time.Now())
		if err != nil {
			return err
		}
		connect := func(s signer.Signer) error {
			if side == asClient {
				return handshake(version, peer, s)
			}
			return handshake(version, s, peer)
		}
		if usable {
			return ifAsked(s, connect)
		}
		if connect(s) == nil {
			return fmt.Errorf("%s handshake succeeded with a scheme that the version or SignatureSchemes does not allow", tls.VersionName(version))
		}
		return nil
	}
}

// usableIn reports whether the CertificateVerify message of a TLS version may
// use scheme with the key pub. TLS 1.3 has no PKCS #1 v1.5 signatures and binds
// the hash of ECDSA to the curve (RFC 8446, section 4.2.3). No earlier version has
// ML-DSA.
func usableIn(version uint16, scheme tls.SignatureScheme, pub crypto.PublicKey) bool {
	if isMLDSA(pub) {
		return version >= tls.VersionTLS13
	}
	if version < tls.VersionTLS13 {
		return scheme != 0
	}
	switch scheme {
	case tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512, tls.Ed25519:
		return true
	}
	curves := map[tls.SignatureScheme]elliptic.Curve{
		tls.ECDSAWithP256AndSHA256: elliptic.P256(),
		tls.ECDSAWithP384AndSHA384: elliptic.P384(),
		tls.ECDSAWithP521AndSHA512: elliptic.P521(),
	}
	key, ok := pub.(*ecdsa.PublicKey)
	return ok && curves[scheme] == key.Curve
}

// handshake connects server and client. Both present a certificate. The server
// then sends one byte to the client, because a TLS 1.3 client learns only after
// its handshake that the server rejected its certificate.
//
// Each side compares the chain that it receives with the expected one. It does
// not verify the chain, because the root of a Signer with a chain of its own is
// unknown here. The handshake itself proves that the peer has the key of the
// leaf.
func handshake(version uint16, server, client signer.Signer) error {
	serverConfig, err := tlsConfig(version, server, client)
	if err != nil {
		return err
	}
	serverConfig.ClientAuth = tls.RequireAnyClientCert
	clientConfig, err := tlsConfig(version, client, server)
	if err != nil {
		return err
	}
	clientConfig.InsecureSkipVerify = true

	a, b := net.Pipe()
	// The deadline ends a deadlock in which both sides of the pipe send an
	// alert and neither reads. It is long enough for a key that waits for a
	// touch.
	deadline := time.Now().Add(time.Minute)
	if err := errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		defer a.Close()
		_, err := tls.Server(a, serverConfig).Write([]byte{1})
		sent <- err
	}()
	_, err = io.ReadFull(tls.Client(b, clientConfig), make([]byte, 1))
	return errors.Join(err, b.Close(), <-sent)
}

func tlsConfig(version uint16, own, peer signer.Signer) (*tls.Config, error) {
	cert, err := signer.TLSCertificate(own)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   version,
		MaxVersion:   version,
		Certificates: []tls.Certificate{cert},
		VerifyConnection: func(state tls.ConnectionState) error {
			if !slices.EqualFunc(state.PeerCertificates, peer.Chain(), (*x509.Certificate).Equal) {
				return errors.New("the peer sent a chain that differs from its Signer's")
			}
			return nil
		},
	}, nil
}
