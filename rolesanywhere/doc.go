// Package rolesanywhere obtains temporary AWS credentials from IAM Roles Anywhere
// with a private key and its certificate.
//
// [New] takes a [Config]: a signer.Signer with its chain, and the ARNs of a trust
// anchor, a profile and a role. A [Client] is a credentials.Source: each call of
// [Client.Credentials] creates a session. A program that asks more than once puts
// a credentials.Cache before it. [NewRotating] takes a key that is replaced while
// the program runs.
//
// What can be refused here is not sent: [CheckChain] judges certificates by the
// rules of the service, and [Config.Check] the rest. The request is signed by
// package sigv4x509, whose signature is made by the key of the certificate.
//
// # Errors
//
// An error of Config wraps [ErrConfig]. A certificate that the service would
// refuse is a [*CertificateError], a refusal by the service an [*APIError] with
// its own words, and an answer that did not come wraps [ErrUnreachable]. Most of
// them have a hint; see signer.Hint.
//
// # Time
//
// What may pass by itself is tried again, at most four times and within
// Config.Timeout, which is [DefaultTimeout] unless set. If an answer shows that
// the local clock is wrong, the request is signed once more with the time of the
// service.
//
// Package emulator is a local Roles Anywhere for tests.
package rolesanywhere
