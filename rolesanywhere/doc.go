// Package rolesanywhere obtains temporary AWS credentials from IAM Roles Anywhere
// with a private key and its certificate.
//
// [New] accepts a [Config]: a signer.Signer with its chain, and the ARNs of a
// trust anchor, a profile and a role. A [Client] is a credentials.Source: each
// call of [Client.Credentials] creates a session. A program that needs
// credentials more than once uses a credentials.Cache with the Client as its
// Source. [NewRotating] accepts a key that is replaced while the program runs.
//
// A request that the service would refuse is not sent if that can be checked
// locally: [CheckChain] checks certificates against the rules of the service,
// and [Config.Check] checks the other fields. Package sigv4x509 signs the
// request with the key of the certificate.
//
// # Errors
//
// An error in a Config wraps [ErrConfig]. The error for a certificate that the
// service would refuse is a [*CertificateError]. A refusal by the service is an
// [*APIError] with the message of the service. If there is no response, the
// error wraps [ErrUnreachable]. Most errors have a hint; see signer.Hint.
//
// # Time
//
// Transient errors are retried, with at most four attempts within
// Config.Timeout, which is [DefaultTimeout] unless set. If a response shows
// that the local clock is wrong, the request is signed once more with the time
// of the service.
//
// Package emulator is a local Roles Anywhere for tests.
package rolesanywhere
