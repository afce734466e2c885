package issuing

import (
	"context"
	"crypto/rand"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

func (f *initFlags) isFile(key flags.Key) bool {
	_, isFile := key.Identity.Key.File()
	return f.certificate == "" && isFile
}

// printRequest prints the request of an intermediate CA.
func (f *initFlags) printRequest(ctx context.Context, a front.App, key keystore.Ref, s signer.Signer, names pki.Names) error {
	der, err := pki.NewCARequest(rand.Reader, signer.WithContext(ctx, s), names)
	if err != nil {
		return err
	}
	args := []string{"--private-key", key.String(), "--certificate", "CERTIFICATE"}
	if f.device.PINSource != "" {
		args = append(args, "--pin-source", f.device.PINSource)
	}
	if f.plaintextKey {
		args = append(args, "--plaintext-key")
	}
	next := "next: send it to the CA above; with holdfast: " + issueCommand(names, "--profile", pki.Intermediate.Name) +
		"\nthen: " + f.command("init", args...)
	return printRequestDER(a, s, names, der, new(front.OutFile), f.json, next)
}

// caKeyTypes returns the types that IAM Roles Anywhere supports.
func caKeyTypes() (names []string) {
	for _, t := range keystore.KeyTypes() {
		if t != keystore.Ed25519 {
			names = append(names, string(t))
		}
	}
	return names
}
