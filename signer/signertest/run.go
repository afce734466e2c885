// Package signertest tests implementations of [signer.Signer], and helps to
// test what uses them: [Run] is the contract as a test, [CA] and [Key] make
// certificates and keys, [Fake] is a Signer that fails or waits when told to.
// It imports the standard library and package signer alone.
package signertest

import (
	"crypto/tls"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

// Run tests the contract of [signer.Signer]. It calls open for a new Signer in
// each sub-test, always of the same key, and closes it. What it checks:
//
//   - Sign: every signature that the type of Public allows verifies with the
//     standard library. ECDSA and PKCS #1 v1.5 with SHA-256, SHA-384 and
//     SHA-512; PSS with each of them and a salt as long as the hash (asked for
//     by rsa.PSSSaltLengthEqualsHash and by number), as long as possible
//     (rsa.PSSSaltLengthAuto, which is 0; in FIPS 140 mode, as long as the
//     hash) and of 20 bytes; Ed25519 over whole messages. A
//     [signer.SchemeLimiter] is asked only for what it lists, and must list
//     something that its key can make.
//   - Refuse: digests that are too short, too long or whole messages, no hash,
//     nil options, and for Ed25519 a hash, are errors, and Sign works after
//     them. PSS is [errors.ErrUnsupported] if a SchemeLimiter lists RSA schemes
//     but none of PSS.
//   - Concurrent: eight goroutines make twenty signatures each, and each
//     verifies for its own digest.
//   - Close: may be called again without error. Sign returns
//     [signer.ErrClosed] afterwards; Public and Chain return what they did.
//   - CloseWhileSigning: of Sign calls in four goroutines, each returns a valid
//     signature or ErrClosed, and those that begin after Close has returned,
//     ErrClosed.
//   - Chain: the leaf is for Public, each certificate's issuer follows it, and
//     there is no root. No chain at all is fine.
//   - CSR: a certificate request made with [x509.CreateCertificateRequest]
//     verifies.
//   - TLS: handshakes of versions 1.2 and 1.3 succeed with the Signer as the
//     server's and as the client's key, and the peer sees its chain. A Signer
//     without a chain gets one from a CA made for the test. Where the schemes
//     of a SchemeLimiter are of no use to the version, such as RSA without PSS
//     to TLS 1.3, the handshake must fail.
//
// It cannot see from outside whether Close waits for Sign calls in flight.
func Run(t *testing.T, open func(t *testing.T) signer.Signer) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			if err := c.run(t, s); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check returns an error instead of failing, so that a test can show that it
// finds what it is for. It uses tb only to make certificates.
type check struct {
	name string
	run  func(tb testing.TB, s signer.Signer) error
}

var checks = []check{
	{"Sign", checkSign},
	{"Refuse", checkRefuse},
	{"Concurrent", checkConcurrent},
	{"Close", checkClose},
	{"CloseWhileSigning", checkCloseWhileSigning},
	{"Chain", checkChain},
	{"CSR", checkCSR},
	{"TLS12Server", checkTLS(tls.VersionTLS12, asServer)},
	{"TLS12Client", checkTLS(tls.VersionTLS12, asClient)},
	{"TLS13Server", checkTLS(tls.VersionTLS13, asServer)},
	{"TLS13Client", checkTLS(tls.VersionTLS13, asClient)},
}
