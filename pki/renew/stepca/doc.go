// Package stepca obtains certificates from step-ca, the CA server of Smallstep.
//
// A certificate is renewed by TLS client authentication with its key. If the key
// of the new certificate is another one, the old one vouches for it (rekey). The
// names, usages and lifetime stay: step-ca takes them from the old certificate,
// and from the request for a new key only that key.
//
// step-ca accepts no expired certificate in TLS. It then gets a token that the
// key of the certificate signs, and renews the certificate if its provisioner has
// the claim allowRenewalAfterExpiry. It accepts such a token only for the same
// key, so a new key takes two requests: one for a certificate of the old key, and
// one for the new key with that certificate.
//
// step-ca has no tokens for repeated requests: a renewal that was interrupted and
// is begun again makes another certificate.
//
// The variables HTTPS_PROXY and NO_PROXY count, as in
// [net/http.ProxyFromEnvironment]. A proxy must open a tunnel to the server: if it
// ends TLS, step-ca does not see the certificate of the client. Its own URL must
// begin with http, because an https proxy would be verified with the roots of the
// CA.
//
// The package was tested with step-ca 0.30.2.
package stepca
