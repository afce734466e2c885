// Package signertest tests implementations of [signer.Signer] and helps to test
// code that uses them. [Run] tests the contract of Signer, [CA] and [Key]
// create certificates and keys, and [Fake] is a Signer that can be made to fail
// or to block. The package imports only the standard library and packages of
// Holdfast that do the same.
package signertest

import (
	"crypto/tls"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

// Run tests the contract of [signer.Signer]. In each subtest it calls open,
// which must return a new Signer for the same key, and closes that Signer. The
// checks are:
//
//   - Sign: every signature that the key type allows verifies with the standard
//     library. For ECDSA and PKCS #1 v1.5 the hashes are SHA-256, SHA-384 and
//     SHA-512. For PSS they are the same, each with a salt as long as the hash
//     (requested with rsa.PSSSaltLengthEqualsHash and as a number), with the
//     longest possible salt (rsa.PSSSaltLengthAuto, which is 0; in FIPS 140
//     mode, as long as the hash) and with a salt of 20 bytes. Ed25519 and ML-DSA
//     sign whole messages; ML-DSA signatures verify with [signer.Verifies]. For a
//     [signer.SchemeLimiter], Run requests only the
//     listed schemes; at least one of them must suit the key. A
//     [crypto.MessageSigner] makes the same signatures with SignMessage.
//   - Refuse: Sign returns an error for digests that are too short or too long,
//     for whole messages, for a missing hash, for nil options, with
//     Ed25519 and ML-DSA for a hash and, with ML-DSA, for a context; afterwards it
//     still signs. PSS fails with
//     [errors.ErrUnsupported] if a SchemeLimiter with an RSA key lists no PSS
//     scheme, and with a salt that a [signer.SaltLimiter] does not list; each salt
//     that it lists works.
//   - Concurrent: eight goroutines make twenty signatures each, and each
//     signature verifies for its own digest.
//   - Close: a second Close succeeds. Afterwards Sign and SignMessage return
//     [signer.ErrClosed]; Public and Chain return the same as before.
//   - CloseWhileSigning: Sign calls in four goroutines return a valid signature
//     or ErrClosed. Calls that begin after Close has returned return ErrClosed.
//   - Chain: the leaf is for Public, each certificate is followed by its
//     issuer, and there is no root. An empty chain is allowed.
//   - CSR: a certificate request made with [x509.CreateCertificateRequest]
//     verifies.
//   - TLS: handshakes of versions 1.2 and 1.3 succeed with the Signer as the
//     server's and as the client's key, and the peer receives its chain. A
//     Signer without a chain gets a certificate from a test CA. If the version
//     allows none of the schemes of a SchemeLimiter, such as RSA without PSS in
//     TLS 1.3, the handshake must fail.
//
// Before Go 1.27, the standard library makes no certificate requests and no handshakes
// with ML-DSA keys. CSR and TLS then check that it returns an error. Without a chain,
// TLS does nothing for such a key.
//
// Run cannot check whether Close waits for Sign calls in flight.
func Run(t *testing.T, open func(t *testing.T) signer.Signer) {
	t.Helper()
	run(t, open, digests)
}

// RunMessages is [Run] for a key that signs only messages, such as a key of an
// ssh-agent. It makes all signatures with SignMessage, and Sign must fail with
// [errors.ErrUnsupported] for every digest of an RSA or ECDSA key.
func RunMessages(t *testing.T, open func(t *testing.T) signer.Signer) {
	t.Helper()
	run(t, open, messages)
}

func run(t *testing.T, open func(t *testing.T) signer.Signer, m mode) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			if err := c.run(t, s, m); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check returns an error instead of failing the test, so that tests can
// confirm that it detects a fault. It uses tb only to create certificates and to log.
type check struct {
	name string
	run  func(tb testing.TB, s signer.Signer, m mode) error
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
