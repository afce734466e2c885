package awsservice

import (
	"net/url"
	"testing"
)

func TestOtherHost(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://rolesanywhere.us-east-1.amazonaws.com/sessions":            "",
		"https://rolesanywhere.us-east-1.api.aws":                           "",
		"https://rolesanywhere.cn-north-1.amazonaws.com.cn":                 "",
		"https://vpce-1a2b3c.rolesanywhere.EU-CENTRAL-1.vpce.AmazonAWS.com": "",
		"http://127.0.0.1:9910":                                             "127.0.0.1:9910",
		"https://rolesanywhere.amazonaws.com.example.com":                   "rolesanywhere.amazonaws.com.example.com",
		"https://amazonaws.com.local:8443":                                  "amazonaws.com.local:8443",
	} {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if got := OtherHost(u); got != want {
			t.Errorf("%s: %q, want %q", endpoint, got, want)
		}
	}
}
