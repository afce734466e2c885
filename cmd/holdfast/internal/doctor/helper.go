package doctor

import (
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/keystore"
)

// helper is the name of the program of AWS, whose flags Holdfast understands.
const helper = "aws_signing_helper"

// helperFlags are the flags of aws_signing_helper credential-process, as its help lists them.
var helperFlags = []string{
	"cert-selector", "certificate", "debug", "endpoint", "intermediates", "no-tpm-key-password", "no-verify-ssl", "pkcs11-lib", "pkcs8-password",
	"private-key", "profile-arn", "region", "reuse-pin", "role-arn", "role-session-name", "session-duration", "system-store-name",
	"tpm-key-password", "trust-anchor-arn", "use-latest-expiring-certificate", "with-proxy",
}

// ownReference matches references that only Holdfast knows.
var ownReference = lazyregexp.Regexp{Expression: `^(env|tpm|keychain|winstore|spiffe|sshagent|file):`}

// programName returns the name of a program without folder and ending.
func programName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".exe") }

// isHelper reports whether a program is aws_signing_helper, and not a link of that
// name to Holdfast.
func (p *patient) isHelper(program string) bool {
	if path, err := exec.LookPath(program); err == nil {
		program = path
	}
	if target, err := filepath.EvalSymlinks(program); err == nil {
		program = target
	}
	return programName(program) == helper
}

// checkHelper compares the flags and files of a credential_process that runs
// aws_signing_helper with its abilities.
func (p *patient) checkHelper(line *cobra.Command) (results []result) {
	words := append([]string{program()}, p.aws.words[1:]...)
	add := func(r result) { results = append(results, p.set(r.because("run holdfast instead"), words)) }
	line.Flags().Visit(func(f *pflag.Flag) {
		switch value := f.Value.String(); {
		case p.cmd.Flags().Changed(f.Name): // is not in the profile
		case !slices.Contains(helperFlags, f.Name):
			add(failed(front.ExitUsage, "%s does not know --%s; holdfast does", helper, f.Name))
		case ownReference.Get().MatchString(value) && (f.Name == "certificate" || f.Name == "private-key"):
			scheme, _, _ := strings.Cut(value, ":")
			add(failed(front.ExitUsage, "%s does not know references that begin with %s: in --%s; holdfast does", helper, scheme, f.Name))
		}
	})
	if f := line.Flags().Lookup("certificate"); f != nil && len(results) == 0 {
		path := f.Value.String()
		data, err := keystore.ReadFile(path, keystore.MaxInput)
		block, rest := pem.Decode(data)
		for certificates := 0; block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" {
				certificates++
			}
			if certificates == 2 {
				add(warn("%s ignores the intermediate certificates in %s", helper, path))
				break
			}
		}
		if err == nil && len(data) > 0 && data[0] == 0x30 && (!line.Flags().Changed("private-key") || line.Flags().Lookup("private-key").Value.String() == path) { // DER: PKCS #12
			add(warn("%s cannot read PKCS #12 files with a password, or of OpenSSL 3 and later", helper))
		}
	}
	if len(results) == 0 {
		results = append(results, skip("doctor opens the key and creates the session as holdfast does; it does not run %s", helper))
	}
	return results
}
