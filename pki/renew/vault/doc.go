// Package vault obtains certificates from the PKI secrets engine of HashiCorp Vault,
// or of OpenBao, which has the same API.
//
// For a renewal, the certificate in use and its key log in by TLS (the auth method
// cert), and the token of that login has one certificate signed (pki/sign). The
// token is then revoked. The key can be another one than that of the certificate in
// use. A first certificate needs a token of an administrator.
//
// The common name and the alternative names are asked for; the other parts of the
// subject, the usages and the lifetime are those of the role. Vault does not bind a
// renewal to the certificate of the login: whoever may log in gets what the role
// allows. So a machine has a role of its own, or the role has
// allowed_domains_template.
//
// After the end of a certificate there is no login, and an administrator must have
// the next one issued. Vault has no tokens for repeated requests: a renewal that
// was interrupted and is begun again makes another certificate.
//
// The variables HTTPS_PROXY and NO_PROXY count, as in
// [net/http.ProxyFromEnvironment]. A proxy must open a tunnel to the server: if it
// ends TLS, Vault does not see the certificate of the client.
//
// The tests use a server of their own, which was written from Vault's documentation
// and source. Neither Vault nor OpenBao itself was run.
package vault
