package sharedfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var fresh = credentials.Credentials{
	AccessKeyID:     "ASIANEW",
	SecretAccessKey: "new/secret+key",
	SessionToken:    "new/session+token==",
	Expires:         time.Date(2026, 11, 21, 13, 14, 15, 0, time.UTC),
	AccountID:       "123456789012",
}

const (
	block = "aws_access_key_id = ASIANEW\naws_secret_access_key = new/secret+key\naws_session_token = new/session+token==\n"
	old   = "aws_access_key_id = AKIAOLD\naws_secret_access_key = old/secret\naws_session_token = old/token\n"
)

// A setTest is a file before and after setting its profile p. after is "" if
// the file is refused.
type setTest struct {
	name, before, after string

	notPython bool // AWS clients for Python cannot read the file
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

var setTests = []setTest{
	{name: "empty", before: "", after: "[p]\n" + block},
	{name: "only blank lines", before: "\n\n", after: "\n\n[p]\n" + block},
	{name: "only a comment", before: "# mine\n", after: "# mine\n\n[p]\n" + block},
	{name: "profile in use", before: "[p]\n" + old, after: "[p]\n" + block},
	{name: "another profile", before: "[a]\nk = v\n", after: "[a]\nk = v\n\n[p]\n" + block},
	{name: "no final newline, profile absent", before: "[a]\nk = v", after: "[a]\nk = v\n\n[p]\n" + block},
	{name: "no final newline, only a header", before: "[p]", after: "[p]\n" + block},
	{name: "no final newline, key is last", before: "[p]\n" + strings.TrimSuffix(old, "\n"), after: "[p]\n" + strings.TrimSuffix(block, "\n")},
	{name: "no final newline, other key is last", before: "[p]\nregion = us-east-1", after: "[p]\n" + block + "region = us-east-1"},
	{name: "blank line at the end", before: "[a]\nk = v\n\n", after: "[a]\nk = v\n\n[p]\n" + block},
	{name: "empty profile", before: "[p]\n[q]\nk = v\n", after: "[p]\n" + block + "[q]\nk = v\n"},
	{name: "in the middle", before: "[a]\nx = 1\n[p]\n" + old + "[b]\ny = 2\n", after: "[a]\nx = 1\n[p]\n" + block + "[b]\ny = 2\n"},
	{name: "region after the keys", before: "[p]\n" + old + "region = us-east-1\n", after: "[p]\n" + block + "region = us-east-1\n"},
	{name: "second to last, header on the last line", before: "[p]\n" + old + "[keepme]", after: "[p]\n" + block + "[keepme]"},
	{name: "no session token yet", before: "[p]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\noutput = json\n",
		after: "[p]\n" + block + "output = json\n"},
	{name: "only the secret", before: "[p]\naws_secret_access_key = old\n",
		after: "[p]\naws_secret_access_key = new/secret+key\naws_access_key_id = ASIANEW\naws_session_token = new/session+token==\n"},
	{name: "another order", before: "[p]\naws_session_token = t\nregion = r\naws_secret_access_key = s\naws_access_key_id = k\n",
		after: "[p]\naws_session_token = new/session+token==\nregion = r\naws_secret_access_key = new/secret+key\naws_access_key_id = ASIANEW\n"},
	{name: "comments", before: "# a\n[p] # b\n; c\n" + old + "# d\n\n#[q]\n#aws_access_key_id = no\n",
		after: "# a\n[p] # b\n; c\n" + block + "# d\n\n#[q]\n#aws_access_key_id = no\n"},
	{name: "header with a semicolon", before: "[p] ;c\n" + old, after: "[p] ;c\n" + block},
	{name: "other headers with comments", before: "[a];c\n[p]\n" + old + "[b]#c\n", after: "[a];c\n[p]\n" + block + "[b]#c\n"},
	{name: "white space after the header", before: "[p]  \t\n" + old, after: "[p]  \t\n" + block},
	{name: "header indented", before: "  [p]\n" + old, after: "  [p]\n" + block},
	{name: "CRLF", before: crlf("# c\n[a]\nk = v\n\n[p]\n" + old + "region = r\n"), after: crlf("# c\n[a]\nk = v\n\n[p]\n" + block + "region = r\n")},
	{name: "CRLF, profile absent", before: crlf("[a]\nk = v\n"), after: crlf("[a]\nk = v\n\n[p]\n" + block)},
	{name: "CRLF, no final newline", before: "[a]\r\nk = v", after: crlf("[a]\nk = v\n\n[p]\n" + block)},
	{name: "line ends mixed", before: "[a]\nk = v\r\n[p]\r\naws_access_key_id = k\naws_secret_access_key = s\r\naws_session_token = t\n[b]\r\n",
		after: "[a]\nk = v\r\n[p]\r\naws_access_key_id = ASIANEW\naws_secret_access_key = new/secret+key\r\naws_session_token = new/session+token==\n[b]\r\n"},
	{name: "white space around =", before: "[p]\naws_access_key_id=k\naws_secret_access_key \t=\ts  \naws_session_token   =   t\t\n",
		after: "[p]\naws_access_key_id=ASIANEW\naws_secret_access_key \t=\tnew/secret+key  \naws_session_token   =   new/session+token==\t\n"},
	{name: "colons", before: "[p]\naws_access_key_id: k\naws_secret_access_key :s=\naws_session_token:t:\n",
		after: "[p]\naws_access_key_id: ASIANEW\naws_secret_access_key :new/secret+key\naws_session_token:new/session+token==\n"},
	{name: "keys in other case", before: "[p]\nAWS_ACCESS_KEY_ID = k\nAws_Secret_Access_Key = s\naws_SESSION_token = t\n",
		after: "[p]\nAWS_ACCESS_KEY_ID = ASIANEW\nAws_Secret_Access_Key = new/secret+key\naws_SESSION_token = new/session+token==\n"},
	{name: "values with = and #", before: "[p]\naws_secret_access_key = a=b#c=\nother = x=y#z # w ; v\n[a]\naws_session_token = q==#\n",
		after: "[p]\naws_secret_access_key = new/secret+key\naws_access_key_id = ASIANEW\naws_session_token = new/session+token==\nother = x=y#z # w ; v\n[a]\naws_session_token = q==#\n"},
	{name: "comment after a value", before: "[p]\naws_access_key_id = k # mine\naws_secret_access_key = s ; mine\naws_session_token = t\t# mine\n", after: "[p]\n" + block},
	{name: "values in quotes", before: "[p]\naws_access_key_id = \"k\"\naws_secret_access_key = 's'\naws_session_token = \"\"\n", after: "[p]\n" + block},
	{name: "empty values", before: "[p]\naws_access_key_id =\naws_secret_access_key=\naws_session_token = \n",
		after: "[p]\naws_access_key_id = ASIANEW\naws_secret_access_key=new/secret+key\naws_session_token = new/session+token==\n"},
	{name: "keys with a common prefix", before: "[p]\naws_access_key_id_backup = b\naws_session_token_other = o\nxaws_secret_access_key = x\n",
		after: "[p]\n" + block + "aws_access_key_id_backup = b\naws_session_token_other = o\nxaws_secret_access_key = x\n"},
	{name: "profiles with a common prefix", before: "[pp]\n" + old + "[p2]\n" + old + "[P]\n" + old, after: "[pp]\n" + old + "[p2]\n" + old + "[P]\n" + old + "\n[p]\n" + block},
	{name: "profile of the configuration file", before: "[profile p]\n" + old, after: "[profile p]\n" + old + "\n[p]\n" + block},
	{name: "nested section", before: "[p]\ns3 =\n  max_concurrent_requests = 10\n\n  aws_access_key_id = nested\nregion = r\n",
		after: "[p]\n" + block + "s3 =\n  max_concurrent_requests = 10\n\n  aws_access_key_id = nested\nregion = r\n"},
	{name: "nested section after the keys", before: "[p]\n" + old + "s3 =\n\taddressing_style = path\n", after: "[p]\n" + block + "s3 =\n\taddressing_style = path\n"},
	{name: "nested section of another profile", before: "[a]\ns3 =\n  aws_access_key_id = x\n[p]\n", after: "[a]\ns3 =\n  aws_access_key_id = x\n[p]\n" + block},
	{name: "nested section with a comment", before: "[p]\ns3 =\n  # c\n  a = b # d\n", after: "[p]\n" + block + "s3 =\n  # c\n  a = b # d\n"},
	{name: "keys indented", before: "[p]\n  aws_access_key_id = k\n  region = r\n",
		after: "[p]\n  aws_access_key_id = ASIANEW\n  aws_secret_access_key = new/secret+key\n  aws_session_token = new/session+token==\n  region = r\n"},
	{name: "other keys indented", before: "[p]\n# c\n\tregion = r\n\toutput = json\n[b]\n",
		after: "[p]\n\taws_access_key_id = ASIANEW\n\taws_secret_access_key = new/secret+key\n\taws_session_token = new/session+token==\n# c\n\tregion = r\n\toutput = json\n[b]\n"},
	{name: "multi-line value in another profile", before: "[a]\nk = v\n  more\n  lines\n[p]\n" + old, after: "[a]\nk = v\n  more\n  lines\n[p]\n" + block},
	{name: "blank lines between keys", before: "[p]\n\naws_access_key_id = k\n\n\naws_secret_access_key = s\n\n",
		after: "[p]\n\naws_access_key_id = ASIANEW\n\n\naws_secret_access_key = new/secret+key\naws_session_token = new/session+token==\n\n"},
	{name: "older name of the token", before: "[p]\naws_security_token = old\n" + old, after: "[p]\naws_security_token = new/session+token==\n" + block},
	{name: "account", before: "[p]\naws_account_id = 999999999999\n" + old, after: "[p]\naws_account_id = 123456789012\n" + block},
	{name: "account of another profile", before: "[a]\naws_account_id = 999999999999\n[p]\n" + old, after: "[a]\naws_account_id = 999999999999\n[p]\n" + block},
	{name: "unknown keys", before: "[p]\nx_security_token_expires = 2020-01-01T00:00:00Z\ncredential_process = p --x='[q]'\n" + old,
		after: "[p]\nx_security_token_expires = 2020-01-01T00:00:00Z\ncredential_process = p --x='[q]'\n" + block},
	{name: "not ASCII", before: "# schlüssel 鍵\n[ä]\nk = ü\n[p]\n" + old, after: "# schlüssel 鍵\n[ä]\nk = ü\n[p]\n" + block},
	{name: "long lines", before: "[a]\nk = " + strings.Repeat("v", 100_000) + "\n[p]\n" + old, after: "[a]\nk = " + strings.Repeat("v", 100_000) + "\n[p]\n" + block},
	{name: "DEFAULT", before: "[DEFAULT]\nregion = r\naws_session_token = t\n[p]\n" + old, after: "[DEFAULT]\nregion = r\naws_session_token = t\n[p]\n" + block},
	{name: "DEFAULT and profile with the older token", before: "[DEFAULT]\naws_security_token = t\n[p]\naws_security_token = u\n" + old,
		after: "[DEFAULT]\naws_security_token = t\n[p]\naws_security_token = new/session+token==\n" + block},
	{name: "bracket in a value", before: "[p]\nk = [q]\n" + old, after: "[p]\nk = [q]\n" + block},

	// Files that Python clients cannot read are also kept unchanged.
	{name: "byte order mark", notPython: true, before: "\ufeff[p]\r\n" + crlf(old), after: "\ufeff[p]\r\n" + crlf(old+"\n[p]\n"+block)},
	{name: "byte order mark, profile not first", notPython: true, before: "\ufeff[a]\n[p]\n" + old, after: "\ufeff[a]\n[p]\n" + block},
	{name: "byte order mark, profile absent", notPython: true, before: "\ufeff# c\n", after: "\ufeff# c\n\n[p]\n" + block},
	{name: "profile twice", notPython: true, before: "[p]\nregion = r\n" + old + "[a]\n[p]\naws_access_key_id = other\n",
		after: "[p]\nregion = r\n" + block + "[a]\n[p]\naws_access_key_id = ASIANEW\n"},
	{name: "profile twice, without keys", notPython: true, before: "[p]\n[a]\n[p]\n[b]\n", after: "[p]\n[a]\n[p]\n" + block + "[b]\n"},
	{name: "profile twice, token missing", notPython: true, before: "[p]\naws_access_key_id = k\n[p]\naws_secret_access_key = s\n",
		after: "[p]\naws_access_key_id = ASIANEW\n[p]\naws_secret_access_key = new/secret+key\naws_session_token = new/session+token==\n"},
	{name: "another profile twice", notPython: true, before: "[a]\nk = v\n[p]\n[a]\nk = w\n", after: "[a]\nk = v\n[p]\n" + block + "[a]\nk = w\n"},
	{name: "key twice", notPython: true, before: "[p]\n" + old + "aws_session_token = again\n", after: "[p]\n" + block + "aws_session_token = new/session+token==\n"},
	{name: "no profile at the top", notPython: true, before: "k = v\n[p]\n" + old, after: "k = v\n[p]\n" + block},
	{name: "line without a key", notPython: true, before: "[p]\nnothing\n" + old, after: "[p]\nnothing\n" + block},
	{name: "Latin-1", notPython: true, before: "# schl\xfcssel\n[p]\n" + old, after: "# schl\xfcssel\n[p]\n" + block},

	// Files that clients would read differently are refused.
	{name: "semicolon comment directly after the header", before: "[a]\nk = v\n[p];c\n" + old},
	{name: "hash comment directly after the header", before: "[p]#c\n" + old},
	{name: "DEFAULT with the older token", before: "[DEFAULT]\naws_security_token = t\n[p]\n" + old},
	{name: "DEFAULT with an account", before: "[DEFAULT]\naws_account_id = 999999999999\n"},
	{name: "white space in the header", before: "[ p ]\n" + old},
	{name: "text after the header", before: "[p] x\n" + old},
	{name: "comment with brackets after the header", before: "[p] # [x]\n" + old},
	{name: "multi-line value", before: "[p]\naws_session_token = a\n  b\n"},
	{name: "multi-line value, no key missing", before: "[p]\n" + old + "  more\n"},
	{name: "keys nested in a key", before: "[p]\naws_session_token =\n  a = b\n"},
	{name: "header that continues a value", before: "[a]\nk = v\n  [p]\n  aws_access_key_id = x\n"},
	{name: "keys indented below a key", before: "[p]\nregion = r\n  aws_access_key_id = x\n"},
	{name: "NUL", before: "[p]\nk = \x00\n"},
	{name: "UTF-16", before: "\xff\xfe[\x00p\x00]\x00\n\x00"},
	{name: "escape", before: "# \x1b[2J\n"},
	{name: "carriage returns as line ends", before: "[a]\rk = v\r"},
}

func TestSet(t *testing.T) {
	for _, test := range setTests {
		got, unreadable, err := setBytes([]byte(test.before), "p", fresh)
		if test.after == "" {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%s: error %v, want ErrFormat; wrote\n%s", test.name, err, got)
			}
			continue
		}
		if err != nil || string(got) != test.after {
			t.Errorf("%s: error %v; wrote\n%.500q\nwant\n%.500q", test.name, err, got, test.after)
		}
		if (unreadable != nil) != test.notPython {
			t.Errorf("%s: unreadable in Python: %v, want %t", test.name, unreadable, test.notPython)
		}
		again, _, err := setBytes(got, "p", fresh)
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("%s: second time: error %v; wrote\n%.500q\nwant\n%.500q", test.name, err, again, got)
		}
	}
}

func setBytes(data []byte, profile string, c credentials.Credentials) (changed []byte, unreadable, err error) {
	settings, err := newSettings(c)
	if err != nil {
		return nil, nil, err
	}
	before, err := parse(data)
	if err != nil {
		return nil, nil, err
	}
	after := before.set(profile, settings)
	unreadable, err = verify(before, after, profile, settings)
	return after.bytes(), unreadable, err
}

// botocoreScript reads files with the parser of botocore. For each file it
// prints the profiles and the credentials of a session, or null if botocore
// cannot parse the file.
const botocoreScript = `
import json, os, sys
import botocore.configloader, botocore.exceptions, botocore.session
out = []
for path in json.load(sys.stdin):
    try:
        profiles = botocore.configloader.raw_config_parse(path)
    except botocore.exceptions.ConfigParseError:
        out.append(None)
        continue
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = path
    try:
        c = botocore.session.Session(profile="p").get_credentials()
        keys = [c.access_key, c.secret_key, c.token]
    except Exception as e:
        keys = [repr(e)]
    out.append({"profiles": profiles, "keys": keys})
json.dump(out, sys.stdout)
`

type botocoreFile struct {
	Profiles map[string]map[string]any
	Keys     []string
}

// TestBotocore reads each file of TestSet with the real client, which must find
// the new credentials and otherwise the same settings as before.
func TestBotocore(t *testing.T) {
	python := signertest.Require(t, "boto3", "/usr/bin/python3")
	dir := t.TempDir()
	var paths []string
	add := func(i int, what, content string) {
		path := filepath.Join(dir, what+"-"+string(rune('0'+i/10))+string(rune('0'+i%10)))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for i, test := range setTests {
		add(i, "before", test.before)
		add(i, "after", test.after)
	}
	request, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", botocoreScript)
	cmd.Env = []string{"HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true", "LC_ALL=C.UTF-8"}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var files []*botocoreFile
	if err := json.Unmarshal(out, &files); err != nil || len(files) != len(paths) {
		t.Fatalf("%d files of %d: %v", len(files), len(paths), err)
	}
	for i, test := range setTests {
		before, after := files[2*i], files[2*i+1]
		if test.after == "" {
			continue
		}
		if (after == nil) != test.notPython || (before == nil) != test.notPython {
			t.Errorf("%s: botocore parses it before: %t, after: %t; want %t", test.name, before != nil, after != nil, !test.notPython)
		}
		if before == nil || after == nil {
			continue
		}
		if want := []string{fresh.AccessKeyID, fresh.SecretAccessKey, fresh.SessionToken}; !equalJSON(t, after.Keys, want) {
			t.Errorf("%s: botocore reads %q, want %q", test.name, after.Keys, want)
		}
		for _, profiles := range []map[string]map[string]any{before.Profiles, after.Profiles} {
			if profiles["p"] == nil {
				profiles["p"] = map[string]any{}
			}
			for _, key := range []string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_security_token", "aws_account_id"} {
				delete(profiles["p"], key)
			}
		}
		if !equalJSON(t, before.Profiles, after.Profiles) {
			t.Errorf("%s: botocore read %v before, and %v after", test.name, before.Profiles, after.Profiles)
		}
	}
}

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

// Keys that clients change to different lower-case keys are refused.
func TestKeysThatFoldDifferently(t *testing.T) {
	for _, key := range []string{"aws_access_key_\u0130d", "aws_access_\u212aey_id", "AWS_SECRET_ACCESS_\u212aEY", "\u039f\u0394\u039f\u03a3", "reg\u0130on"} {
		for _, before := range []string{"[p]\n" + key + " = x\n", "[other]\n" + key + ": x\n[p]\n", "[p]\n" + key + "=\n" + old} {
			if got, _, err := setBytes([]byte(before), "p", fresh); !errors.Is(err, ErrFormat) {
				t.Errorf("%q: error %v, want ErrFormat; wrote %q", before, err, got)
			}
		}
	}
	for _, key := range []string{"\u00c4RGER", "\u212b", "reg\u0131on", "\u017fecret"} {
		if _, _, err := setBytes([]byte("[p]\n"+key+" = \u212a\n"), "p", fresh); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}

	// Python's configparser changes keys with str.lower.
	python := signertest.Require(t, "boto3", "/usr/bin/python3")
	out, err := exec.Command(python, "-c", `
import sys
for c in map(chr, range(128, sys.maxunicode + 1)):
    if any(l < "\x80" for l in c.lower()) or c.lower() != ("x" + c).lower()[1:]:
        print(ord(c))
`).Output()
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if n, err := strconv.Atoi(word); err != nil || !foldsDifferently(rune(n)) {
			t.Errorf("Python changes %U to ASCII or depending on its place", n)
		}
	}
	if n := len(strings.Fields(string(out))); n < 3 {
		t.Errorf("Python changes only %d letters", n)
	}
}

// verify detects changes that set never makes.
func TestVerify(t *testing.T) {
	settings, err := newSettings(fresh)
	if err != nil {
		t.Fatal(err)
	}
	before := "[a]\nk = v\n[p]\nregion = r\n"
	for _, test := range []struct {
		name, after string
		ok          bool
	}{
		{"valid", "[a]\nk = v\n[p]\n" + block + "region = r\n", true},
		{"at the end", "[a]\nk = v\n[p]\nregion = r\n" + block, true},
		{"additional comment", "# c\n\n[a]\nk = v\n[p]\nregion = r\n" + block, true},
		{"no change", before, false},
		{"missing key", "[a]\nk = v\n[p]\nregion = r\n" + strings.Replace(block, "aws_session_token", "aws_security_token", 1), false},
		{"another value", "[a]\nk = v\n[p]\nregion = r\n" + strings.Replace(block, "token==", "token=", 1), false},
		{"another value in one place", "[a]\nk = v\n[p]\nregion = r\n" + block + "[p]\naws_session_token = old\n", false},
		{"in another profile", "[a]\n" + block + "k = v\n[p]\nregion = r\n", false},
		{"also in another profile", "[a]\n" + block + "k = v\n[p]\n" + block + "region = r\n", false},
		{"another line changed", "[a]\nk = w\n[p]\n" + block + "region = r\n", false},
		{"another line lost", "[a]\nk = v\n[p]\n" + block, false},
		{"header lost", "k = v\n[p]\n" + block + "region = r\n", false},
		{"additional line", "[a]\nk = v\n[p]\n" + block + "region = r\nx = y\n", false},
		{"additional profile", "[a]\nk = v\n[p]\n" + block + "region = r\n[b]\n", false},
		{"another order", "[p]\n" + block + "region = r\n[a]\nk = v\n", false},
		{"nested", "[a]\nk = v\n[p]\nregion = r\n  " + block, false},
	} {
		old, err := parse([]byte(before))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := parse([]byte(test.after))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(old, changed, "p", settings); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v, want none: %t", test.name, err, test.ok)
		}
	}
}

func TestValues(t *testing.T) {
	for _, bad := range []string{"", "a b", "a\nb", "a\r", "\x00", "ä", `"a"`, "'a'", "a#b", "a;b", "[a]"} {
		c := fresh
		c.SessionToken = bad
		if _, err := newSettings(c); !errors.Is(err, credentials.ErrIncomplete) {
			t.Errorf("token %q: error %v, want ErrIncomplete", bad, err)
		} else if bad != "" && strings.Contains(err.Error(), bad) && len(bad) > 1 {
			t.Errorf("token %q is in the error", bad)
		}
	}
	c := fresh
	c.AccountID = ""
	got, _, err := setBytes([]byte("[p]\naws_account_id = 1\n"), "p", c)
	if err != nil || !strings.Contains(string(got), "aws_account_id = 1\n") {
		t.Errorf("without an account: error %v, wrote %q", err, got)
	}
}

func TestProfileNames(t *testing.T) {
	for _, test := range []struct {
		name string
		ok   bool
	}{
		{"default", true}, {"p", true}, {"my profile", true}, {"a.b-c_d/e@f:g=h", true}, {"ä", true}, {"Default", true}, {"profile", true},
		{"", false}, {"a]b", false}, {"a]", false}, {"a\nb", false}, {"a\rb", false}, {"a\x00", false}, {"a\tb", false}, {"\x7f", false},
		{"a\u0085b", false}, {"a\u2028b", false}, {"a#b", false}, {"a;b", false}, {" a", false}, {"a ", false}, {"DEFAULT", false},
		{"profile a", false}, {"\xff", false}, {strings.Repeat("a", 257), false},
		{"a]\naws_access_key_id = x\n[b", false},
	} {
		f := File{Path: filepath.Join(t.TempDir(), "credentials"), Profile: test.name}
		err := f.Write(t.Context(), fresh)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, ErrProfile) {
			t.Errorf("%q: error %v, want none: %t", test.name, err, test.ok)
		}
		if _, statErr := os.Stat(f.Path); (statErr == nil) != test.ok {
			t.Errorf("%q: file: %v", test.name, statErr)
		}
	}
	// The SDK for Go reads two spaces as one.
	if _, _, err := setBytes(nil, "a  b", fresh); !errors.Is(err, ErrFormat) {
		t.Errorf("two spaces: error %v, want ErrFormat", err)
	}
}
