package emulator

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func TestCreateSession(t *testing.T) {
	root := newRoot(t, caTemplate("Root"))
	first := root.issue(t, caTemplate("First"))
	second := first.issue(t, caTemplate("Second"))
	forMail := caTemplate("Mail")
	forMail.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	limited := root.issue(t, forMail)
	for _, key := range []struct {
		name string
		key  crypto.Signer
	}{
		{"RSA", rsaKey()},
		{"P-256", ecKey(t, elliptic.P256())},
		{"P-384", ecKey(t, elliptic.P384())},
		{"P-521", ecKey(t, elliptic.P521())},
	} {
		for _, path := range []struct {
			name          string
			issuer        certKey
			intermediates []*x509.Certificate
		}{
			{"direct", root, nil},
			{"intermediate", first, []*x509.Certificate{first.cert}},
			{"two intermediates", second, []*x509.Certificate{second.cert, first.cert}},
			{"extended key usage", limited, []*x509.Certificate{limited.cert}},
			{"other order", second, []*x509.Certificate{first.cert, second.cert}},
			{"with root", second, []*x509.Certificate{second.cert, first.cert, root.cert}},
		} {
			t.Run(key.name+" "+path.name, func(t *testing.T) {
				w := &testEnv{ca: root}
				w.start(t, Config{})
				leaf := path.issuer.certify(t, leafTemplate("client"), key.key.Public())
				got := w.do(t, call{key: key.key, chain: append([]*x509.Certificate{leaf}, path.intermediates...)}).session(t)
				if want := "arn:aws:sts::111122223333:assumed-role/demo/0abc"; got.AssumedRoleUser.ARN != want {
					t.Errorf("assumed role is %s, want %s", got.AssumedRoleUser.ARN, want)
				}
			})
		}
	}
}

func TestCreateSessionResponse(t *testing.T) {
	w := newTestEnv(t, Config{})
	a := w.do(t, call{})
	got := a.session(t)
	c := got.Credentials
	for _, f := range []struct{ name, value, pattern string }{
		{"access key", c.AccessKeyID, `^ASIA[A-Z2-7]{16}$`},
		{"secret", c.SecretAccessKey, `^[A-Za-z0-9+/]{40}$`},
		{"token", c.SessionToken, `^[A-Za-z0-9+/]{300,}$`},
		{"expiration", c.Expiration, `^2031-02-03T05:05:06Z$`},
		{"role", got.RoleARN, `^arn:aws:iam::111122223333:role/demo$`},
		{"role ID", got.AssumedRoleUser.ID, `^AROA[A-Z2-7]{17}:0abc$`},
		{"source identity", got.SourceIdentity, `^CN=client$`},
		{"subject", a.out.SubjectARN, `^arn:aws:rolesanywhere:us-east-1:111122223333:subject/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`},
	} {
		if !regexp.MustCompile(f.pattern).MatchString(f.value) {
			t.Errorf("%s does not match %s", f.name, f.pattern)
		}
	}
	if got.PackedPolicySize < 0 || got.PackedPolicySize > 100 {
		t.Errorf("packed policy size is %d percent", got.PackedPolicySize)
	}

	again := w.do(t, call{})
	if next := again.session(t).Credentials; next.AccessKeyID == c.AccessKeyID || next.SecretAccessKey == c.SecretAccessKey || next.SessionToken == c.SessionToken {
		t.Error("two sessions share credentials")
	}
	if again.out.SubjectARN != a.out.SubjectARN {
		t.Error("the same subject has two ARNs")
	}
}

func TestParameters(t *testing.T) {
	w := newTestEnv(t, Config{})
	all := url.Values{"trustAnchorArn": {testAnchor}, "profileArn": {testProfile}, "roleArn": {testRole}}
	for _, tt := range []struct {
		name string
		call call
	}{
		{"body", call{body: body()}},
		{"query", call{query: all}},
		{"query and empty object", call{query: all, body: "{}"}},
		{"query and duration", call{query: all, body: `{"durationSeconds": 900}`}},
		{"mixed", call{query: url.Values{"roleArn": {testRole}}, body: body("roleArn", nil)}},
		{"same in both", call{query: all, body: body()}},
		{"null is absent", call{query: all, body: `{"roleArn": null, "durationSeconds": null, "roleSessionName": null}`}},
		{"instance properties", call{body: body("instanceProperties", map[string]string{"a": "b"})}},
		{"unknown member", call{body: body("sessionName", "x")}},
		{"unknown query parameter", call{body: body(), query: url.Values{"x": {"1", "2"}}}},
		{"largest body", call{body: body("x", strings.Repeat("x", maxBody-len(body("x", ""))))}},
	} {
		t.Run(tt.name, func(t *testing.T) { w.do(t, tt.call).session(t) })
	}
}

func TestPartitions(t *testing.T) {
	for _, tt := range []struct{ region, prefix string }{
		{"us-gov-west-1", "arn:aws-us-gov:"}, {"cn-north-1", "arn:aws-cn:"}, {"eu-central-1", "arn:aws:"}, {"mx-central-1", "arn:aws:"},
	} {
		w := newTestEnv(t, Config{Region: tt.region, Account: "000000000001"})
		b, err := json.Marshal(map[string]string{
			"trustAnchorArn": w.server.TrustAnchorARNs()[0], "profileArn": w.server.ProfileARNs()[0], "roleArn": w.server.RoleARNs()[0],
		})
		if err != nil {
			t.Fatal(err)
		}
		got := w.do(t, call{body: string(b), region: tt.region}).session(t)
		if want := tt.prefix + "sts::000000000001:assumed-role/demo/0abc"; got.AssumedRoleUser.ARN != want {
			t.Errorf("assumed role in %s is %s, want %s", tt.region, got.AssumedRoleUser.ARN, want)
		}
	}
}
