module github.com/holdfast-dev/holdfast/examples/grpc

go 1.26.0

replace github.com/holdfast-dev/holdfast => ../..

require (
	github.com/holdfast-dev/holdfast v0.0.0
	google.golang.org/grpc v1.85.0
)

require (
	filippo.io/mldsa v1.0.0 // indirect
	github.com/ebitengine/purego v0.11.3 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/miekg/pkcs11 v1.1.2 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
