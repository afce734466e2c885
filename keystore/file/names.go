package file

import (
	"crypto/fips140"
	"encoding/asn1"

	algorithms "github.com/holdfast-dev/holdfast/internal/algorithm"
)

func nameOf(id asn1.ObjectIdentifier) string { return algorithms.Name(id) }

// inFIPSMode returns an error if only approved algorithms are allowed and name
// is not one of them. The libraries panic or fail with their own text.
func inFIPSMode(name string) error {
	if !fips140.Enforced() {
		return nil
	}
	return unsupported("%s is not allowed in FIPS mode", name)
}
