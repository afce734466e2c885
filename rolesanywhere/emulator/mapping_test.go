package emulator

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func rulesOf(profile object) string {
	var all []string
	for _, m := range profile.list("attributeMappings") {
		for _, r := range m.list("mappingRules") {
			all = append(all, m.string("certificateField")+"/"+r.string("specifier"))
		}
	}
	return strings.Join(all, " ")
}

func rules(specifiers ...string) []object {
	all := []object{}
	for _, s := range specifiers {
		all = append(all, object{"specifier": s})
	}
	return all
}

func (w *testEnv) put(t testing.TB, field string, specifiers ...string) object {
	t.Helper()
	return w.must(t, "PutAttributeMapping", testProfile, object{"certificateField": field, "mappingRules": rules(specifiers...)}).object("profile")
}

func (w *testEnv) unmap(t testing.TB, field string, specifiers ...string) object {
	t.Helper()
	got := w.control(t, controlCall{operation: "DeleteAttributeMapping", id: testProfile,
		query: url.Values{"certificateField": {field}, "specifiers": specifiers}})
	if got.status != http.StatusOK {
		t.Fatalf("%d %s %s", got.status, got.code, got.message)
	}
	return got.out.object("profile")
}

func TestAttributeMappings(t *testing.T) {
	w := newTestEnv(t, Config{})
	const byDefault = "x509Issuer/* x509SAN/DNS x509SAN/URI x509SAN/Name/* x509Subject/*"
	for i, step := range []struct {
		run  func() object
		want string
	}{
		{func() object { return w.must(t, "GetProfile", testProfile, nil).object("profile") }, byDefault},
		{func() object { return w.put(t, "x509Subject") }, byDefault},
		{func() object { return w.put(t, "x509Subject", "CN", "OU", "CN") }, byDefault + " x509Subject/CN x509Subject/OU"},
		{func() object { return w.unmap(t, "x509Subject", "*") }, "x509Issuer/* x509SAN/DNS x509SAN/URI x509SAN/Name/* x509Subject/CN x509Subject/OU"},
		{func() object { return w.unmap(t, "x509Issuer") }, "x509SAN/DNS x509SAN/URI x509SAN/Name/* x509Subject/CN x509Subject/OU"},
		{func() object { return w.unmap(t, "x509Issuer", "*") }, "x509SAN/DNS x509SAN/URI x509SAN/Name/* x509Subject/CN x509Subject/OU"},
		{func() object { return w.unmap(t, "x509SAN", "URI", "Name/*", "x") }, "x509SAN/DNS x509Subject/CN x509Subject/OU"},
		{func() object { return w.put(t, "x509SAN", "Name/CN") }, "x509SAN/DNS x509SAN/Name/CN x509Subject/CN x509Subject/OU"},
		{func() object { return w.unmap(t, "x509Subject", "CN", "OU") }, "x509SAN/DNS x509SAN/Name/CN"},
		{func() object { return w.unmap(t, "x509SAN") }, ""},
		{func() object { return w.must(t, "GetProfile", testProfile, nil).object("profile") }, ""},
		{func() object { return w.put(t, "x509Issuer", "*") }, "x509Issuer/*"},
	} {
		if got := rulesOf(step.run()); got != step.want {
			t.Errorf("step %d: rules are %s, want %s", i, got, step.want)
		}
	}
}

// The mapping decides which attributes the trust policy sees, and which ones must be
// valid tags. The source identity does not depend on it.
func TestMappedTags(t *testing.T) {
	w := newTestEnv(t, Config{Roles: []Role{{TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
		"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/OU":"Test"}}}]}`}}})
	template := leafTemplate("client")
	template.Subject = pkix.Name{CommonName: "client", OrganizationalUnit: []string{"Test"}, Organization: []string{"A & B"}}
	template.DNSNames = []string{"*.example.com"}
	w.client = w.ca.issue(t, template)
	unmapped := fmt.Sprintf(msgTags, testRole, "", "O", "DNS/2")
	checkRefused(t, w.do(t, call{}), http.StatusForbidden, codeAccessDenied, unmapped)

	w.unmap(t, "x509SAN", "DNS")
	checkRefused(t, w.do(t, call{}), http.StatusForbidden, codeAccessDenied, strings.Replace(unmapped, "DNS/2", "", 1))
	w.put(t, "x509Subject", "OU")
	checkRefused(t, w.do(t, call{}), http.StatusForbidden, codeAccessDenied, strings.Replace(unmapped, "DNS/2", "", 1))
	w.unmap(t, "x509Subject", "*")
	issued := w.do(t, call{}).session(t)
	if issued.SourceIdentity != "CN=client" {
		t.Errorf("source identity is %q", issued.SourceIdentity)
	}
	s, _ := w.server.sessions.get(issued.Credentials.AccessKeyID)
	if got, want := slices.Sorted(maps.Keys(s.Tags)), []string{"x509Issuer/CN", "x509Issuer/O", "x509Subject/OU"}; !slices.Equal(got, want) {
		t.Errorf("tags are %v, want %v", got, want)
	}
	w.unmap(t, "x509Subject")
	checkRefused(t, w.do(t, call{chain: []*x509.Certificate{w.client.cert}}), http.StatusForbidden, codeAccessDenied, fmt.Sprintf(msgAssume, testRole))
}
