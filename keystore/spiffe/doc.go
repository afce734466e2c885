// Package spiffe gets a certificate with its private key, an X.509-SVID, from the
// SPIFFE Workload API: of a SPIRE agent or another implementation. [Backend] opens
// references of the form spiffe:… for package keystore, and its Watch tells when the
// API has issued the next SVID.
//
// The private key is in the memory of this process, as that of a key file is. It is
// never written anywhere.
//
// The client is a small one of this package, on the HTTP/2 of package net/http: it calls
// one method, and reads one kind of message. It links neither gRPC nor protobuf.
//
// Sources: SPIFFE Workload API, SPIFFE Workload Endpoint, SPIFFE-ID, X509-SVID; gRPC over
// HTTP2; Protocol Buffers, Encoding. docs/spiffe.md is the guide for users.
package spiffe
