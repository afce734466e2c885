package flags

import (
	"slices"
	"strings"
	"testing"
)

// The selector in the documentation of aws_signing_helper has no quotes.
func TestJoinSelector(t *testing.T) {
	for line, want := range map[string]string{
		"a|--cert-selector|Key=x509Subject,Value=CN=S|Key=x509Issuer,Value=CN=I|Key=x509Serial,Value=15D1|--debug": "a|--cert-selector|Key=x509Subject,Value=CN=S Key=x509Issuer,Value=CN=I Key=x509Serial,Value=15D1|--debug",
		"a|--cert-selector=Key=x509Subject,Value=CN=S|Key=x509Serial,Value=15D1":                                   "a|--cert-selector=Key=x509Subject,Value=CN=S Key=x509Serial,Value=15D1",
		"exec|--cert-selector|Key=a,Value=b|Key=c,Value=d|--|x|--cert-selector|Key=a|Key=b":                        "exec|--cert-selector|Key=a,Value=b Key=c,Value=d|--|x|--cert-selector|Key=a|Key=b",
		"a|--cert-selector|file://s.json|Key=x":                                                                    "a|--cert-selector|file://s.json|Key=x",
		"a|Key=x|Key=y|--role|Key=z|Key=z":                                                                         "a|Key=x|Key=y|--role|Key=z|Key=z",
		"a|--cert-selector":                                                                                        "a|--cert-selector",
		"a|--cert-selector|Key=x|b|Key=y":                                                                          "a|--cert-selector|Key=x|b|Key=y",
		"--":                                                                                                       "--",
	} {
		if got := strings.Join(JoinSelector(strings.Split(line, "|")), "|"); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
	if got := JoinSelector(nil); !slices.Equal(got, nil) {
		t.Errorf("%q", got)
	}
}
