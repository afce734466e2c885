package emulator

import (
	"net/http"
	"strings"
	"testing"
)

func TestAlias(t *testing.T) {
	w := newTestEnv(t, Config{Profiles: []Profile{{Alias: "Team_1/app-1"}}})
	profile := aliasARN(testProfile, "Team_1/app-1")
	if want := strings.Replace(testProfile, ":profile/00000000-0000-0000-0000-000000000001", ":alias/profile/Team_1/app-1", 1); profile != want {
		t.Fatalf("alias ARN is %s, want %s", profile, want)
	}
	if got := w.do(t, call{body: body("profileArn", profile)}); got.status != http.StatusCreated {
		t.Errorf("alias: status %d, %s", got.status, got.message)
	}
	if got := w.do(t, call{body: body()}); got.status != http.StatusCreated {
		t.Errorf("ARN of a resource with an alias: status %d, %s", got.status, got.message)
	}
	for alias, code := range map[string]string{
		"team_1/app-1": codeNotFound, "Team_1": codeNotFound, "Team_1/app-1/x": codeNotFound,
		"": codeValidation, "1": codeValidation, "a//b": codeValidation, "a/": codeValidation, "aws/a": codeValidation,
		"AWS/a": codeValidation, "a.b": codeValidation, "a:b": codeValidation, strings.Repeat("a", 257): codeValidation,
	} {
		if got := w.do(t, call{body: body("profileArn", aliasARN(testProfile, alias))}); got.code != code {
			t.Errorf("alias %.20q: %s (%s), want %s", alias, got.code, got.message, code)
		}
	}
	for name, change := range map[string][]any{
		"alias of another kind": {"trustAnchorArn", profile},
		"alias of a role":       {"roleArn", "arn:aws:iam::111122223333:alias/role/demo"},
		"alias without account": {"profileArn", strings.Replace(profile, DefaultAccount, "", 1)},
	} {
		if got := w.do(t, call{body: body(change...)}); got.code != codeValidation {
			t.Errorf("%s: %s (%s)", name, got.code, got.message)
		}
	}
}

func TestRefusedAliases(t *testing.T) {
	ca := newRoot(t, caTemplate("Root")).pem()
	for _, cfg := range []Config{
		{TrustAnchors: []TrustAnchor{{Certificates: ca, Alias: "aws/a"}}},
		{TrustAnchors: []TrustAnchor{{Certificates: ca, Alias: strings.Repeat("a", 257)}}},
		{TrustAnchors: []TrustAnchor{{Certificates: ca, Alias: "a"}, {Certificates: ca, Alias: "a"}}},
		{TrustAnchors: []TrustAnchor{{Certificates: ca, ARN: aliasARN(testAnchor, "a")}}},
		{TrustAnchors: []TrustAnchor{{Certificates: ca}}, Profiles: []Profile{{Alias: "a b"}}},
		{TrustAnchors: []TrustAnchor{{Certificates: ca}}, Profiles: []Profile{{Alias: "a"}, {Alias: "a"}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v %+v: no error", cfg.TrustAnchors, cfg.Profiles)
		}
	}
	_ = newServer(t, Config{TrustAnchors: []TrustAnchor{{Certificates: ca, Alias: "a"}}, Profiles: []Profile{{Alias: "a"}, {Alias: "A"}}})
}
