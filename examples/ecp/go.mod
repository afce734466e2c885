module github.com/holdfast-dev/holdfast/examples/ecp

go 1.26.0

replace github.com/holdfast-dev/holdfast => ../..

require (
	github.com/googleapis/enterprise-certificate-proxy v0.3.25
	github.com/holdfast-dev/holdfast v0.0.0
)

require (
	filippo.io/mldsa v1.0.0 // indirect
	github.com/ebitengine/purego v0.11.3 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/miekg/pkcs11 v1.1.2 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
