// Package interop tests keystore/spiffe against a server of grpc-go with the published
// messages of the SPIFFE Workload API, those of go-spiffe. It is in a module of its own, so
// that Holdfast does not depend on these.
package interop
