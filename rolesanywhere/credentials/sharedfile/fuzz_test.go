package sharedfile

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// FuzzSet changes files with any content and checks that only the keys of the
// profile change.
func FuzzSet(f *testing.F) {
	for _, test := range setTests {
		f.Add([]byte(test.before), "p")
		f.Add([]byte(test.before), "a")
	}
	f.Add([]byte("[a b]\n"), "a b")
	f.Fuzz(func(t *testing.T, data []byte, profile string) {
		if len(data) > 1<<16 || (File{Profile: profile}).Check() != nil {
			t.Skip()
		}
		text, err := parse(data)
		if err == nil && !bytes.Equal(text.bytes(), data) {
			t.Fatalf("parse and bytes return different data: %q", text.bytes())
		}
		first, _, err := setBytes(data, profile, fresh)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		// Without the keys and the added header, the lines are
		// unchanged.
		before, after := others(data), others(first)
		if len(after) > len(before) {
			if len(after) > 0 && after[len(after)-1] == "["+profile+"]" {
				after = after[:len(after)-1]
			}
			if len(after) > len(before) && after[len(after)-1] == "" {
				after = after[:len(after)-1]
			}
		}
		if !slices.Equal(before, after) {
			t.Fatalf("wrote\n%q\nother lines are %q, want %q", first, after, before)
		}
		// Setting the same values again changes nothing. Newer values
		// replace the same places.
		again, _, err := setBytes(first, profile, fresh)
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("second time: %v\n%q\nafter\n%q", err, again, first)
		}
		newer := fresh
		newer.AccessKeyID, newer.SecretAccessKey, newer.SessionToken, newer.AccountID = "ASIANEWER", "newer", "newer/token", "1"
		a, _, err := setBytes(first, profile, newer)
		if err != nil {
			t.Fatalf("newer values: %v", err)
		}
		if b, _, err := setBytes(data, profile, newer); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("newer values: %v\nin two steps:\n%q\nin one step:\n%q", err, a, b)
		}
	})
}

// others returns the lines without the keys that Write sets.
func others(data []byte) (lines []string) {
	for line := range strings.Lines(strings.TrimPrefix(string(data), byteOrderMark)) {
		line = strings.TrimRight(line, "\r\n")
		key, _, ok := splitProperty(line)
		if ok && slices.Contains([]string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_security_token", "aws_account_id"}, key) {
			continue
		}
		lines = append(lines, line)
	}
	return lines
}
