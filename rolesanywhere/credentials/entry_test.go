package credentials

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKeysDiffer(t *testing.T) {
	seen := make(map[string][]string)
	for _, parts := range [][]string{
		nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"},
		{"a\x00b"}, {"\x00\x00\x00\x00\x00\x00\x00\x01a"}, {"A"},
	} {
		key := Key(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have the same key", other, parts)
		}
		seen[key] = parts
		if key != Key(slices.Clone(parts)...) || !isKey(key) {
			t.Errorf("%q: key %s", parts, key)
		}
	}
}

var (
	issued = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	sample = Entry{
		Credentials: Credentials{"ASIAEXAMPLE", "the/secret+key", "the/session+token=", issued.Add(time.Hour).Round(0), "123456789012"},
		Issued:      issued, Until: issued.Add(2 * time.Hour),
	}
)

func TestEntryRoundTrip(t *testing.T) {
	for _, change := range []func(*Entry){
		func(*Entry) {},
		func(e *Entry) { e.Until = time.Time{} },
		func(e *Entry) { e.Credentials.AccountID = "" },
		func(e *Entry) { e.Credentials.SessionToken = strings.Repeat("t", 20<<10) },
		func(e *Entry) { e.Credentials.Expires = e.Credentials.Expires.In(time.FixedZone("", 3600)) },
	} {
		want := sample
		change(&want)
		data, err := want.encode(Key("a"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntry(Key("a"), data)
		want.Credentials.Expires = want.Credentials.Expires.UTC()
		if err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got.Credentials, err, want.Credentials)
		}
		if _, err := decodeEntry(Key("b"), data); !errors.Is(err, errCorrupt) {
			t.Errorf("under another key: error %v", err)
		}
		for n := 0; n < len(data); n += 1 + len(data)/300 {
			if _, err := decodeEntry(Key("a"), data[:n]); !errors.Is(err, errCorrupt) {
				t.Fatalf("truncated to %d of %d bytes: error %v", n, len(data), err)
			}
		}
	}
	large := sample
	large.Credentials.SessionToken = strings.Repeat("t", maxEntry)
	if _, err := large.encode(Key("a")); err == nil || strings.Contains(err.Error(), "ttt") {
		t.Errorf("large entry: error %v", err)
	}
}

// An entry of which any bit was flipped is not used, unless its meaning is the
// same, as for the case of a JSON name.
func TestDecodeEntryFlipped(t *testing.T) {
	good, err := sample.encode(Key("a"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			data := slices.Clone(good)
			data[i] ^= 1 << bit
			if e, err := decodeEntry(Key("a"), data); err == nil && e != sample {
				t.Errorf("bit %d of byte %d is flipped: %v was accepted", bit, i, e.Credentials)
			}
		}
	}
}

func TestDecodeEntryRefuses(t *testing.T) {
	good, err := sample.encode(Key("a"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"nothing":     "",
		"null":        "null",
		"an array":    "[]",
		"garbage":     "\x00\xff",
		"twice":       string(good) + string(good),
		"no key":      strings.Replace(string(good), `"key"`, `"kez"`, 1),
		"no secret":   strings.Replace(string(good), "the/secret+key", "", 1),
		"no token":    strings.Replace(string(good), "the/session+token=", "", 1),
		"no ID":       strings.Replace(string(good), "ASIAEXAMPLE", "", 1),
		"no end":      strings.Replace(string(good), `"expires"`, `"expired"`, 1),
		"no issue":    strings.Replace(string(good), `"issued"`, `"issue"`, 1),
		"a bad time":  strings.Replace(string(good), "2026", "20x6", 1),
		"never valid": strings.Replace(string(good), `"issued":"2026`, `"issued":"2027`, 1),
		"too long":    string(good) + strings.Repeat(" ", maxEntry),
	} {
		e, err := decodeEntry(Key("a"), []byte(data))
		if !errors.Is(err, errCorrupt) || e != (Entry{}) {
			t.Errorf("%s: got %v, %v", name, e.Credentials, err)
		}
	}
}

func TestDecodeEntryVersions(t *testing.T) {
	good, err := sample.encode(Key("a"))
	if err != nil {
		t.Fatal(err)
	}
	const version = `"version":1,`
	if !strings.Contains(string(good), version) {
		t.Fatalf("no version in %s", good)
	}
	for data, want := range map[string]error{
		string(good): nil,
		strings.Replace(string(good), version, "", 1):               errOlder,
		strings.Replace(string(good), version, `"version":0,`, 1):   errOlder,
		strings.Replace(string(good), version, `"version":0.5,`, 1): errCorrupt,
		"{}": errCorrupt,
	} {
		if _, err := decodeEntry(Key("a"), []byte(data)); !errors.Is(err, want) {
			t.Errorf("%.40s: error %v, want %v", data, err, want)
		}
	}
	// Nothing else is known about newer versions.
	large := `"token":"` + strings.Repeat("t", maxEntry) + `"}`
	for _, data := range []string{
		`{"version":2}`, `{"version":2,"issued":7,"key":[]}`, strings.Replace(string(good), version, `"version":99,`, 1),
		strings.Replace(string(good), version, `"version":"1",`, 1), `{"version":"2"}`, `{"version":null}`, `{"version":{"major":2}}`,
		strings.Replace(string(good), version, `"version":1.5,`, 1), `{"version":2.5}`,
		`{"version":2,` + large, `{"format":{"name":"x"},"version":2,` + large[:maxEntry], `{"version":"2",` + large,
	} {
		if e, err := decodeEntry(Key("a"), []byte(data)); !isNewer(err) || e != (Entry{}) || errors.Is(err, errCorrupt) {
			t.Errorf("%.40s: %v, error %v", data, e.Credentials, err)
		}
	}
}

func TestEntryValid(t *testing.T) {
	for _, test := range []struct {
		after time.Duration // time since the issue
		until time.Duration // Until, relative to the issue; 0: not set
		valid bool
	}{
		{0, 0, true},
		{59 * time.Minute, 0, true},
		{time.Hour, 0, false},
		{-59 * time.Second, 0, true},
		{-61 * time.Second, 0, false}, // the clock was set back
		{29 * time.Minute, 30 * time.Minute, true},
		{30 * time.Minute, 30 * time.Minute, false},
		{61 * time.Minute, 2 * time.Hour, false},
	} {
		e := sample
		e.Until = time.Time{}
		if test.until != 0 {
			e.Until = e.Issued.Add(test.until)
		}
		if got := e.valid(e.Issued.Add(test.after)); got != test.valid {
			t.Errorf("%v after its issue, until %v: valid %t", test.after, test.until, got)
		}
	}
}
