module github.com/holdfast-dev/holdfast/examples/sigstore

go 1.26.0

replace github.com/holdfast-dev/holdfast => ../..

require (
	github.com/holdfast-dev/holdfast v0.0.0
	github.com/sigstore/sigstore v1.10.4
)

require (
	filippo.io/mldsa v1.0.0 // indirect
	github.com/ebitengine/purego v0.11.3 // indirect
	github.com/google/go-containerregistry v0.20.7 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/miekg/pkcs11 v1.1.2 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/secure-systems-lab/go-securesystemslib v0.9.1 // indirect
	github.com/sigstore/protobuf-specs v0.5.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/term v0.47.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20250825161204-c5933d9347a5 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
