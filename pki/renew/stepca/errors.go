package stepca

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

const hintEnroll = "enroll again with a one-time token; an administrator of the CA can print one with: step ca token NAME"

// hints has the hint for a message of step-ca that contains a text.
var hints = []struct{ text, hint string }{
	{"certificate expired on", "the provisioner of the certificate lacks the claim allowRenewalAfterExpiry; " + hintEnroll},
	{"missing client certificate", "a proxy in front of the CA ends TLS; the CA must see the certificate of the client itself"},
	{"(nbf)", caclient.HintClock},
	{"(iat)", caclient.HintClock},
	{"(exp)", caclient.HintClock},
	{"(aud)", "use a URL with a host that the CA lists in dnsNames"},
	{"error validating renew token", "check that this CA has issued the certificate, and that the certificate of the issuer follows it in the file"},
}

func hintFor(message, otherwise string) string {
	for _, h := range hints {
		if strings.Contains(message, h.text) {
			return h.hint
		}
	}
	return otherwise
}

// refused returns the error for a request that the CA does not grant.
func (c *CA) refused(r request, status int, message string) error {
	if message == "" {
		message = fmt.Sprintf("status %d", status)
	}
	otherwise := "the log of the CA has the reason; " + hintEnroll
	if r.secret != "" {
		otherwise = "a one-time token is for one use, within some minutes and with the names that it lists; an administrator of the CA can print another one with: step ca token NAME"
	}
	return signer.WithHint(c.client.Rejected("refuses the request: "+message), hintFor(message, otherwise))
}
