package emulator

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// restart starts and closes emulators with one state folder after another, and returns
// the last one, which the test closes.
func restart(t *testing.T, folder string, configs ...Config) (s *Server, err error) {
	t.Helper()
	for i, cfg := range configs {
		cfg.State, cfg.Now = folder, func() time.Time { return testNow }
		if s, err = New(cfg); err != nil {
			return nil, err
		}
		if i < len(configs)-1 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, nil
}

// An earlier configuration neither is in the way of the next one nor takes part in it.
func TestNextConfiguration(t *testing.T) {
	ca, other := newRoot(t, caTemplate("Root")), newRoot(t, caTemplate("Other"))
	anchors := []TrustAnchor{{Certificates: ca.pem()}}
	a, b := Role{ARN: "arn:aws:iam::111122223333:role/a"}, Role{ARN: "arn:aws:iam::111122223333:role/b"}
	moved := Role{ARN: "arn:aws:iam::111122223333:role/team/a"}
	second := DefaultProfileARN(DefaultRegion, DefaultAccount, 2)
	for _, tt := range []struct {
		name        string
		first, next Config
		refused     string
		roles       []string // of the first profile
	}{
		{"role removed", Config{Roles: []Role{a, b}}, Config{Roles: []Role{a}}, "", []string{a.ARN}},
		{"role moved", Config{Roles: []Role{a}}, Config{Roles: []Role{moved}}, "", []string{moved.ARN}},
		{"roles in another order", Config{Roles: []Role{a, b}}, Config{Roles: []Role{b, a}}, "", []string{a.ARN, b.ARN}},
		{"role between", Config{Roles: []Role{a, b}}, Config{Roles: []Role{{}, b, a}}, "", []string{a.ARN, b.ARN, testRole}},
		{"removed role in a profile", Config{Roles: []Role{a, b}}, Config{Roles: []Role{a}, Profiles: []Profile{{RoleARNs: []string{b.ARN}}}}, "is not configured", nil},
		{"removed role of the CA", Config{Roles: []Role{a, b}}, Config{Roles: []Role{a}, PrivateCA: PrivateCA{Key: ca.key, RoleARNs: []string{b.ARN}}}, "is not configured", nil},
		{"alias moved", Config{Profiles: []Profile{{ARN: second, Alias: "x"}}}, Config{Profiles: []Profile{{Alias: "x"}}}, "", []string{testRole}},
		{"aliases swapped", Config{Profiles: []Profile{{Alias: "x"}, {ARN: second, Alias: "y"}}}, Config{Profiles: []Profile{{Alias: "y"}, {ARN: second, Alias: "x"}}}, "", []string{testRole}},
		{"key of a removed trust anchor", Config{}, Config{TrustAnchors: []TrustAnchor{{Certificates: other.pem()}}, PrivateCA: PrivateCA{Key: ca.key}},
			"belongs to no certificate of a trust anchor", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.first.TrustAnchors = anchors
			if tt.next.TrustAnchors == nil {
				tt.next.TrustAnchors = anchors
			}
			s, err := restart(t, newFolder(t), tt.first, tt.next)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("error is %v, want %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p, _ := s.profiles.get(testProfile); !slices.Equal(p.RoleARNs, tt.roles) || !slices.Equal(s.RoleARNs(), tt.roles) {
				t.Errorf("the profile has the roles %v, the emulator %v, want %v", p.RoleARNs, s.RoleARNs(), tt.roles)
			}
		})
	}
}

// newEditedState returns a state folder in which requests have created and changed
// resources. It was started with the default configuration.
func newEditedState(t *testing.T, ca certKey) (folder, profile string) {
	t.Helper()
	folder = newFolder(t)
	w := &testEnv{ca: ca}
	w.start(t, Config{State: folder})
	profile = w.must(t, "CreateProfile", "", profileInputOf("aliasName", "taken")).object("profile").string("profileArn")
	for range maxAnchorCRLs {
		w.must(t, "ImportCrl", "", w.crlInput(t, testAnchor))
	}
	w.must(t, "DisableProfile", testProfile, nil)
	w.must(t, "TagResource", "", object{"resourceArn": testAnchor, "tags": []object{{"key": "a", "value": "b"}}})
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustRoot)
	w.mustIAM(t, "UpdateAssumeRolePolicy", "RoleName", "demo", "PolicyDocument", trustRoot)
	w.stop()
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	return folder, profile
}

// A configuration that collides with a resource of the API is refused and changes nothing
// on the disk.
func TestConfigurationCollides(t *testing.T) {
	ca := newRoot(t, caTemplate("Root"))
	folder, profile := newEditedState(t, ca)
	before, err := os.ReadFile(filepath.Join(folder, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	const role = "arn:aws:iam::111122223333:role/app"
	for name, tt := range map[string]struct {
		cfg     Config
		culprit string
	}{
		"role":      {Config{Roles: []Role{{ARN: role}}}, role},
		"role name": {Config{Roles: []Role{{ARN: "arn:aws:iam::111122223333:role/team/app"}}}, role},
		"profile":   {Config{Profiles: []Profile{{ARN: profile}}}, profile},
		"alias":     {Config{Profiles: []Profile{{Alias: "taken"}}}, profile},
		"CRLs":      {Config{TrustAnchors: []TrustAnchor{{Certificates: ca.pem(), CRLs: [][]byte{ca.crl(t)}}}}, "crl/"},
	} {
		if tt.cfg.TrustAnchors == nil {
			tt.cfg.TrustAnchors = []TrustAnchor{{Certificates: ca.pem()}}
		}
		_, err := restart(t, folder, tt.cfg)
		if err == nil || !strings.Contains(err.Error(), tt.culprit) || !strings.Contains(err.Error(), "delete it, or use another folder") {
			t.Errorf("%s: error is %v, want one about %s", name, err, tt.culprit)
		}
	}
	if after, err := os.ReadFile(filepath.Join(folder, stateFile)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the state has changed, %v", err)
	}
}

// The configuration replaces what requests had changed, and says so once. A role that a
// request created does not enter the default profile.
func TestEditedConfiguration(t *testing.T) {
	ca := newRoot(t, caTemplate("Root"))
	folder, _ := newEditedState(t, ca)
	for _, want := range [][]string{{testAnchor, testProfile, testRole}, nil} {
		var log bytes.Buffer
		cfg := Config{State: folder, TrustAnchors: []TrustAnchor{{Certificates: ca.pem()}}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		s := newServer(t, cfg)
		p, _ := s.profiles.get(testProfile)
		r, _ := s.roles.get(testRole)
		if !p.Enabled || r.policy != nil || !slices.Equal(p.RoleARNs, []string{testRole}) {
			t.Errorf("the profile is %+v, the role %+v", p, r)
		}
		if got := strings.Count(log.String(), "level=WARN"); got != len(want) {
			t.Errorf("%d warnings, want %d: %s", got, len(want), &log)
		}
		for _, arn := range want {
			if !strings.Contains(log.String(), "arn="+arn+"\n") {
				t.Errorf("no warning about %s: %s", arn, &log)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The ID of a resource has no slash, so GetProfile could not find one with a path.
func TestConfiguredPath(t *testing.T) {
	certificates := newRoot(t, caTemplate("Root")).pem()
	for _, cfg := range []Config{
		{TrustAnchors: []TrustAnchor{{Certificates: certificates, ARN: "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/team/one"}}},
		{TrustAnchors: []TrustAnchor{{Certificates: certificates}}, Profiles: []Profile{{ARN: "arn:aws:rolesanywhere:us-east-1:111122223333:profile/team/one"}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "an ID has no slash") {
			t.Errorf("error is %v", err)
		}
	}
}
