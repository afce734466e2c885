// Package est obtains certificates by Enrollment over Secure Transport (RFC 7030,
// clarified by RFC 8951).
//
// A certificate is renewed by TLS client authentication with its key
// (simplereenroll). The request must have the subject and the alternative names of
// the certificate byte by byte, as [pki.NewRenewalRequest] makes it, and can be for
// another key (rekey). A first certificate (simpleenroll) needs a user name and password,
// or a certificate of another kind. The certificates of the issuers come from
// cacerts, which is asked first: nothing is issued if it fails.
//
// The server is verified with the given root certificates alone, and what cacerts
// brings verifies no server. Passwords are sent by HTTP Basic, inside TLS; HTTP
// Digest, and the proof of possession with tls-unique, which TLS 1.3 does not have,
// are not supported. Neither are csrattrs, serverkeygen and full CMC.
//
// If the CA issues a certificate later, the error is a [*renew.WaitError]: the same
// request must be sent again.
//
// The variables HTTPS_PROXY and NO_PROXY count, as in
// [net/http.ProxyFromEnvironment]. A proxy must open a tunnel to the server.
//
// The tests use a server of their own, which was written from the RFCs. The same
// exchanges were tried by hand with the server of github.com/globalsign/est.
package est
