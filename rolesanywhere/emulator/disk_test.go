package emulator

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// newStateEnv starts an emulator with a state folder. stop closes it.
func newStateEnv(t testing.TB, folder string, ca certKey) (w *testEnv, stop func()) {
	t.Helper()
	w = &testEnv{ca: ca}
	w.client = ca.issue(t, leafTemplate("client"))
	w.startEmpty(t, Config{State: folder})
	return w, func() {
		w.stop()
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
	}
}

// responses returns the responses of all operations that only read.
func (w *testEnv) responses(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	get := func(name string, c controlCall) object {
		t.Helper()
		got := w.control(t, c)
		if got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, got.status, got.message)
		}
		all[name] = got.body
		return got.out
	}
	for _, k := range []struct{ name, member string }{{"TrustAnchor", "trustAnchor"}, {"Profile", "profile"}, {"Crl", "crl"}, {"Subject", "subject"}} {
		for _, r := range get("List"+k.name+"s", controlCall{operation: "List" + k.name + "s"}).list(k.member + "s") {
			arn := r.string(k.member + "Arn")
			get("Get "+arn, controlCall{operation: "Get" + k.name, id: arn})
			get("ListTags "+arn, controlCall{operation: "ListTagsForResource", query: url.Values{"resourceArn": {arn}}})
			if alias := r.string("aliasArn"); alias != "" {
				get("Get "+alias, controlCall{operation: "Get" + k.name, id: alias})
			}
		}
	}
	return all
}

// fill uses every operation that changes something.
func (w *testEnv) fill(t testing.TB) {
	t.Helper()
	for _, name := range []string{"c", "a", "b"} {
		tags := []object{{"key": "z", "value": name}, {"key": "a", "value": ""}}
		anchor := w.must(t, "CreateTrustAnchor", "", w.anchorInput("name", name, "aliasName", name, "tags", tags, "crlDpRevocationEnabled", name == "a",
			"notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": true, "threshold": 7}})).object("trustAnchor").string("trustAnchorArn")
		w.must(t, "ImportCrl", "", w.crlInput(t, anchor, "aliasName", name+"/1", "crlData", w.ca.crlPEM(t, 1, 2)))
		list := w.must(t, "ImportCrl", "", w.crlInput(t, anchor, "name", name, "tags", tags)).object("crl").string("crlArn")
		w.must(t, "DisableCrl", list, nil)
		profile := w.must(t, "CreateProfile", "", profileInputOf("name", name, "aliasName", name, "tags", tags, "sessionPolicy", `{"Version":"2012-10-17"}`,
			"managedPolicyArns", []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, "requireInstanceProperties", true)).object("profile").string("profileArn")
		w.must(t, "PutAttributeMapping", profile, object{"certificateField": "x509Subject", "mappingRules": rules("CN")})
		w.must(t, "UpdateProfile", profile, object{"aliasName": name + "2"})
		w.must(t, "PutNotificationSettings", "", object{"trustAnchorId": anchor, "notificationSettings": []object{{"event": "END_ENTITY_CERTIFICATE_EXPIRY", "enabled": false}}})
		w.must(t, "TagResource", "", object{"resourceArn": profile, "tags": []object{{"key": "t", "value": "1"}}})
		w.must(t, "UntagResource", "", object{"resourceArn": list, "tagKeys": []string{"z"}})
	}
	empty := w.must(t, "CreateProfile", "", profileInputOf("roleArns", []string{})).object("profile").string("profileArn")
	for _, field := range certificateFields {
		if got := w.control(t, controlCall{operation: "DeleteAttributeMapping", id: empty, query: url.Values{"certificateField": {field}}}); got.status != http.StatusOK {
			t.Fatal(got.message)
		}
	}
	w.must(t, "DeleteTrustAnchor", w.must(t, "CreateTrustAnchor", "", w.anchorInput("name", "gone")).object("trustAnchor").string("trustAnchorArn"), nil)
}

// Everything that the control plane created is the same after the next start, and so are
// its administrator and the tokens of pages.
func TestStateIsKept(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "state")
	ca := newRoot(t, caTemplate("Root"))
	w, stop := newStateEnv(t, folder, ca)
	w.fill(t)
	before, admin, token := w.responses(t), w.server.Administrator(), w.server.pageToken("profiles", 1)
	stop()
	for path, want := range map[string]fs.FileMode{folder: 0o700 | fs.ModeDir, filepath.Join(folder, stateFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != want && os.PathSeparator == '/' {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	for range 2 {
		w, stop = newStateEnv(t, folder, ca)
		after := w.responses(t)
		for name, want := range before {
			if after[name] != want {
				t.Errorf("%s: %s\nwas %s", name, after[name], want)
			}
		}
		if len(after) != len(before) || len(before) < 30 {
			t.Errorf("%d responses, were %d", len(after), len(before))
		}
		if w.server.Administrator() != admin || w.server.pageToken("profiles", 1) != token {
			t.Error("the administrator is another one")
		}
		stop()
	}
	// A new resource comes after the old ones.
	w, stop = newStateEnv(t, folder, ca)
	defer stop()
	w.must(t, "CreateTrustAnchor", "", w.anchorInput("name", "last"))
	if list := w.must(t, "ListTrustAnchors", "", nil).list("trustAnchors"); list[len(list)-1].string("name") != "last" {
		t.Errorf("trust anchors are %v", list)
	}
}

func TestStateRefused(t *testing.T) {
	folder := t.TempDir()
	_, stop := newStateEnv(t, folder, newRoot(t, caTemplate("Root")))
	check := func(message string, cfg Config) {
		t.Helper()
		cfg.State = folder
		s, err := New(cfg)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(err.Error(), folder) {
			t.Errorf("error is %v, want %q and the folder", err, message)
		}
	}
	check("another emulator uses this state folder", Config{})
	stop()
	check("the state is that of account 111122223333, not 444455556666; use another folder", Config{Account: "444455556666"})
	check("the state is that of region us-east-1, not eu-west-1", Config{Region: "eu-west-1"})
	if _, err := New(Config{State: filepath.Join(folder, stateFile)}); err == nil {
		t.Error("a file as a folder is accepted")
	}
	s, err := New(Config{State: folder})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// startDamaged starts and stops an emulator with a file as its state. It must neither
// panic nor hang.
func startDamaged(t testing.TB, b []byte) error {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, stateFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{State: folder})
	if err != nil {
		if !strings.Contains(err.Error(), folder) {
			t.Errorf("error does not name the file: %v", err)
		}
		return err
	}
	// It can write, too.
	err = s.change(func(c *changes) error { s.about.put(c, "test", strings.Repeat("x", 10_000)); return nil })
	if err != nil {
		t.Errorf("writing: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	return nil
}

// newStateFile returns the bytes of a state.
func newStateFile(t testing.TB) []byte {
	t.Helper()
	folder := t.TempDir()
	w, stop := newStateEnv(t, folder, newRoot(t, caTemplate("Root")))
	w.fill(t)
	stop()
	b, err := os.ReadFile(filepath.Join(folder, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedState(t *testing.T) {
	good := newStateFile(t)
	if err := startDamaged(t, good); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for name, b := range map[string][]byte{
		"empty":                nil,
		"text":                 []byte("hello\n"),
		"long text":            bytes.Repeat([]byte("hello\n"), 10_000),
		"zeros":                make([]byte, len(good)),
		"half":                 good[:len(good)/2],
		"two pages":            good[:2*page],
		"a page less":          good[:len(good)-page],
		"the first byte":       good[:1],
		"no first pages":       good[2*page:],
		"all pages after meta": append(bytes.Clone(good[:2*page]), make([]byte, len(good)-2*page)...),
	} {
		err := startDamaged(t, b)
		if name == "a page less" && err == nil {
			continue // the last page may be unused
		}
		if err == nil || !strings.Contains(err.Error(), "replace it by a copy, or remove it to start with an empty state") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	// Each page in turn is overwritten, and is exchanged with another one.
	for i := 2 * page; i+page <= len(good); i += page {
		b := bytes.Clone(good)
		copy(b[i:], bytes.Repeat([]byte{0xff}, page))
		_ = startDamaged(t, b)
		b = bytes.Clone(good)
		copy(b[i:i+page], good[len(good)-i:])
		_ = startDamaged(t, b)
	}
}

// Files of bbolt that are not a state, or not one of an emulator that works.
func TestForeignState(t *testing.T) {
	for name, tables := range map[string]map[string]map[string]string{
		"another program": {"bucket": {"key": "value"}},
		"version":         {"about": {"version": `{"value":"99"}`}},
		"no value":        {"about": {"version": `{"value":"1"}`}, "trust-anchors": {testAnchor: `{"number":1,"value":null}`}},
		"no row":          {"about": {"version": `{"value":"1"}`}, "trust-anchors": {testAnchor: `null`}},
		"not JSON":        {"about": {"version": `{"value":"1"}`}, "profiles": {testProfile: `{`}},
		"another type":    {"about": {"version": `{"value":"1"}`}, "profiles": {testProfile: `{"value":[]}`}},
		"no ARN":          {"about": {"version": `{"value":"1"}`}, "profiles": {"x": `{"value":{"arn":"x"}}`}},
		"another ARN":     {"about": {"version": `{"value":"1"}`}, "profiles": {testProfile: `{"value":{"arn":"x"}}`}},
		"no certificate":  {"about": {"version": `{"value":"1"}`}, "trust-anchors": {testAnchor: `{"value":{"arn":"` + testAnchor + `"}}`}},
		"no role":         {"about": {"version": `{"value":"1"}`}, "roles": {testRole: `{"value":{}}`}},
	} {
		folder := t.TempDir()
		db, err := bbolt.Open(filepath.Join(folder, stateFile), 0o600, nil)
		if err == nil {
			err = errors.Join(db.Update(func(tx *bbolt.Tx) error {
				for table, rows := range tables {
					b, err := tx.CreateBucket([]byte(table))
					if err != nil {
						return err
					}
					for key, value := range rows {
						if err := b.Put([]byte(key), []byte(value)); err != nil {
							return err
						}
					}
				}
				return nil
			}), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, err := New(Config{State: folder}); err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), folder) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

// FuzzState changes bytes of a state.
func FuzzState(f *testing.F) {
	good := newStateFile(f)
	for _, offset := range []uint32{0, 8, 16, 40, 80, 4096, 8192, 8200, 8208, 12_288, 16_384, 16_390, 20_000} {
		f.Add(offset, []byte{0xff, 0xff})
		f.Add(offset, []byte{0})
	}
	f.Fuzz(func(t *testing.T, offset uint32, change []byte) {
		b := bytes.Clone(good)
		copy(b[int(offset)%len(b):], change)
		_ = startDamaged(t, b)
	})
}
