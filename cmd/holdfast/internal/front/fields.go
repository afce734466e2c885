package front

import (
	"log/slog"
	"strings"
)

// Fields maps the fields of Go types in the hints of libraries to flags of the
// command line. A phrase precedes the field names that it contains.
var Fields = [][2]string{
	{"let Options.PIN ask", "--pin-source prompt"},
	{"Identity.Certificate FILE, Identity.Key", "--certificate FILE --private-key"},

	{"Identity.Certificate", "--certificate"},
	{"Identity.Intermediates", "--intermediates"},
	{"Identity.Key", "--private-key"},
	{"Options.PIN", "--pin-source"},
	{"Selector.UseLatestExpiring", "--use-latest-expiring-certificate"},

	{"Config.Certificates", "--certificate FILE"},
	{"Config.Logger", "--debug"},
	{"Config.Module", "--pkcs11-lib"},
	{"Config.PIN", "--pin-source file:PATH"},

	{"Config.ProfileARN", "--profile-arn"},
	{"Config.RoleARN", "--role-arn"},
	{"Config.TrustAnchorARN", "--trust-anchor-arn"},
	{"Config.DualStack", "--dual-stack (AWS_USE_DUALSTACK_ENDPOINT)"},
	{"Config.Duration", "--session-duration"},
	{"Config.Endpoint", "--endpoint"},
	{"Config.FIPS", "--fips (AWS_USE_FIPS_ENDPOINT)"},
	{"Config.Insecure", "--no-verify-ssl"},
	{"Config.Region", "--region"},
	{"Config.SessionName", "--role-session-name"},
	{"Config.Timeout", "--timeout"},
	{"TransportConfig.CABundle", "--ca-bundle or AWS_CA_BUNDLE"},
	{"TransportConfig.NoProxy", "--with-proxy=false"},
}

// withFlags returns a hint with the fields in it replaced by flags.
func withFlags(hint string) string {
	pairs := make([]string, 0, 2*len(Fields))
	for _, f := range Fields {
		pairs = append(pairs, f[0], f[1])
	}
	return strings.NewReplacer(pairs...).Replace(hint)
}

// HintAttr replaces the field names in the hints of a log with flags, as in the
// hints of errors. It is a function for [slog.HandlerOptions.ReplaceAttr].
func HintAttr(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "hint" {
		return slog.String(a.Key, withFlags(a.Value.String()))
	}
	return a
}
