package emulator

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const stateFile = "state.jsonl"

// newFolder makes a folder that only its owner can read, unlike that of t.TempDir.
func newFolder(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return folder
}

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
	for _, field := range certificateFields() {
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
	folder := newFolder(t)
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
	folder := newFolder(t)
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
	folder := newFolder(t)
	w, stop := newStateEnv(t, folder, newRoot(t, caTemplate("Root")))
	w.fill(t)
	stop()
	b, err := os.ReadFile(filepath.Join(folder, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// commitOf returns a file of the state with these lines, with their checksums.
func commitOf(lines ...string) []byte {
	b := []byte("holdfast emulator state 1\n")
	for _, line := range lines {
		b = fmt.Appendf(b, "%08x %s\n", crc32.Checksum([]byte(line), crc32.MakeTable(crc32.Castagnoli)), line)
	}
	return b
}

func TestDamagedState(t *testing.T) {
	good := newStateFile(t)
	if err := startDamaged(t, good); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty":          nil,
		"text":           []byte("hello\n"),
		"zeros":          make([]byte, len(good)),
		"the first byte": good[:1],
		"no first line":  good[bytes.IndexByte(good, '\n')+1:],
		"another line":   append(bytes.Clone(good), "hello\n"...),
		"zeros after it": append(bytes.Clone(good), make([]byte, 10)...),
		"half of a line": append(bytes.Clone(good), "01234567 [{"...),
		"half":           good[:len(good)/2],
	} {
		err := startDamaged(t, b)
		switch name {
		case "half", "half of a line", "zeros after it": // as after a crash
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if err == nil || !strings.Contains(err.Error(), "replace it by a copy, or remove it to start with an empty state") {
				t.Errorf("%s: error is %v", name, err)
			}
		}
	}
}

// Each change of a byte of a state is detected.
func TestDamagedByte(t *testing.T) {
	folder := newFolder(t)
	_, stop := newStateEnv(t, folder, newRoot(t, caTemplate("Root")))
	stop()
	path := filepath.Join(folder, stateFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x20
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := New(Config{State: folder}); err == nil {
			_ = s.Close()
			t.Errorf("byte %d: no error", i)
		} else if !strings.Contains(err.Error(), path+": line ") {
			t.Errorf("byte %d: error is %v", i, err)
		}
	}
}

// Lines that are not damaged, but are not those of an emulator that works.
func TestForeignState(t *testing.T) {
	for name, line := range map[string]string{
		"region":         `[{"table":"about","key":"region","value":{"value":"eu-west-1"}}]`,
		"no value":       `[{"table":"trust-anchors","key":"` + testAnchor + `","value":{"number":1,"value":null}}]`,
		"no row":         `[{"table":"trust-anchors","key":"` + testAnchor + `","value":[]}]`,
		"not JSON":       `{`,
		"another type":   `[{"table":"profiles","key":"` + testProfile + `","value":{"value":[]}}]`,
		"no ARN":         `[{"table":"profiles","key":"x","value":{"value":{"arn":"x"}}}]`,
		"another ARN":    `[{"table":"profiles","key":"` + testProfile + `","value":{"value":{"arn":"x"}}}]`,
		"no certificate": `[{"table":"trust-anchors","key":"` + testAnchor + `","value":{"value":{"arn":"` + testAnchor + `"}}}]`,
		"no role":        `[{"table":"roles","key":"` + testRole + `","value":{"value":{}}}]`,
	} {
		if err := startDamaged(t, commitOf(line)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A table that is not in the list would be lost when the state is compacted.
func TestAllTablesAreStored(t *testing.T) {
	r := newResources()
	if got, want := len(r.stored()), reflect.TypeOf(r).NumField(); got != want {
		t.Errorf("%d tables are stored, want %d", got, want)
	}
}

// Many changes of one resource keep the file small, and the other resources.
func TestStateIsCompacted(t *testing.T) {
	folder := newFolder(t)
	ca := newRoot(t, caTemplate("Root"))
	w, stop := newStateEnv(t, folder, ca)
	w.fill(t)
	var list struct {
		TrustAnchors []struct{ TrustAnchorArn string }
	}
	w.read(t, "/trustanchors", &list)
	key := list.TrustAnchors[0].TrustAnchorArn
	was, _ := w.server.anchors.get(key)
	const commits, changesOfCommit = 100, 1000
	last := ""
	for i := range commits {
		err := w.server.change(func(c *changes) error {
			for n := range changesOfCommit {
				a := *was
				last = fmt.Sprint("change ", i, n)
				a.Name = last
				w.server.anchors.put(c, key, &a)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(folder, stateFile)); err != nil || info.Size() > 5<<20 {
			t.Fatalf("after %d commits: %d bytes, %v", i, info.Size(), err)
		}
	}
	before := w.responses(t)
	stop()
	w, stop = newStateEnv(t, folder, ca)
	defer stop()
	if got, _ := w.server.anchors.get(key); got.Name != last {
		t.Errorf("the name is %q, want %q", got.Name, last)
	}
	if after := w.responses(t); !maps.Equal(after, before) {
		t.Errorf("responses are %v\nwere %v", after, before)
	}
}

// FuzzState starts with any file, and with any lines that have the right checksum.
func FuzzState(f *testing.F) {
	good := newStateFile(f)
	f.Add(good, false)
	f.Add(good[:len(good)/2], false)
	f.Add(good[:len(good)-1], false)
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(string(good)), "\n")[1:] {
		_, text, _ := strings.Cut(line, " ")
		lines = append(lines, text)
		f.Add([]byte(text), true)
	}
	f.Add([]byte(strings.Join(lines, "\n")), true)
	f.Fuzz(func(t *testing.T, b []byte, lines bool) {
		if lines {
			b = commitOf(strings.Split(string(b), "\n")...)
		}
		_ = startDamaged(t, b)
	})
}
