package flags

import (
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// CheckKeyType returns an error if the value of a flag is not one of the types of keys
// that a command generates.
func CheckKeyType(flag, value string, types []string) error {
	if slices.Contains(types, value) {
		return nil
	}
	if set := strings.ToUpper(value); slices.Contains([]string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}, set) {
		return signer.WithHint(front.Usagef("--%s %q: this version of Holdfast makes no keys, certificate requests or certificates of this type", flag, value),
			"generate the key with OpenSSL 3.5 or later: openssl genpkey -algorithm "+set+" -out FILE")
	}
	return front.Usagef("--%s %q is not one of %s", flag, keystore.Excerpt(value), strings.Join(types, ", "))
}
