//go:build cgo && !unix

package pkcs11

// probe does nothing: the binding loads the library.
func probe(string) (done func(), err error) { return func() {}, nil }
