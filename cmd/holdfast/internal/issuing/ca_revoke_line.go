package issuing

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
)

// tellRelated returns the text about the certificates that are related to c, with the
// command that revokes them for the reason. A certificate that is superseded has valid
// ones in its line, as a rule; then the text is empty.
func (f *folder) tellRelated(c authority.Certificate, others []authority.Certificate, reason pki.Reason) string {
	if len(others) == 0 || reason == pki.Superseded {
		return ""
	}
	are, them := "are", "them"
	if len(others) == 1 {
		are, them = "is", "it"
	}
	var b strings.Builder
	if reason == pki.KeyCompromise {
		fmt.Fprintf(&b, "WARNING: %s of the compromised key or of its line %s valid. A thief of the key can use or have obtained %s:\n", count(len(others), "other certificate"), are, them)
	} else {
		fmt.Fprintf(&b, "%s of this line %s valid:\n", count(len(others), "other certificate"), are)
	}
	for _, o := range others {
		key := "the same key"
		if o.Key != c.Key {
			key = "another key"
		}
		fmt.Fprintf(&b, "  %s for %s, with %s, expires at %s\n", o.Serial, front.OneLine(subjectOf(o)), key, day(o.NotAfter))
	}
	if reason == pki.KeyCompromise {
		fmt.Fprintf(&b, "revoke %s now; a machine that uses such a certificate needs a new key and a new certificate:\n", them)
	} else {
		fmt.Fprintf(&b, "to revoke %s, too:\n", them)
	}
	fmt.Fprintf(&b, "  %s\n", f.command("revoke", "--serial", c.Serial, "--line", "--reason", reasonName(reason)))
	return b.String()
}
