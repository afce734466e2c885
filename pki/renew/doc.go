// Package renew keeps a certificate from expiring. It decides when the
// certificate is due, gets a new one from a CA, proves it, and only then replaces
// the old one. The private key stays where it is.
//
// A [Way] is how a certificate is obtained from a CA; the packages below this one
// have some. A [Renewer] uses one way for one certificate.
package renew
