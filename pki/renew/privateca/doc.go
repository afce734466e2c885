// Package privateca obtains certificates from AWS Private CA, with the calls
// IssueCertificate and GetCertificate of its API.
//
// The calls are signed with credentials that [Config.Session] obtains: those of a
// session of IAM Roles Anywhere with the key and the certificate in use. So a
// machine needs no other credentials. AWS gives no session for a certificate that
// has expired: then a person must obtain the next one.
//
// AWS Private CA does not bind a renewal to the old certificate. It takes the names
// from the request: whoever may call IssueCertificate can obtain a certificate with
// any name from that CA. Policies can restrict the CA and the template, but not the
// names.
//
// The token of a [renew.Request] is the idempotency token of IssueCertificate: for
// five minutes, a request that is sent again brings the same certificate. After
// that time AWS issues another one.
//
// A validity in days counts from the issuance, but notBefore is an hour earlier.
//
// The variables HTTPS_PROXY and NO_PROXY count if the transport of
// [rolesanywhere.NewTransport] is used.
//
// The package was tested with the emulator in package rolesanywhere/emulator, which
// follows the service model and the documentation of AWS, not with AWS itself.
package privateca
