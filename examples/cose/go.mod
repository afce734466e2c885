module github.com/holdfast-dev/holdfast/examples/cose

go 1.26.0

replace github.com/holdfast-dev/holdfast => ../..

require (
	github.com/holdfast-dev/holdfast v0.0.0
	github.com/veraison/go-cose v1.3.0
)

require (
	filippo.io/mldsa v1.0.0 // indirect
	github.com/ebitengine/purego v0.11.3 // indirect
	github.com/fxamacker/cbor/v2 v2.5.0 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/miekg/pkcs11 v1.1.2 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
