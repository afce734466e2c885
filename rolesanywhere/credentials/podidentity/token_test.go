package podidentity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	claims := func(text string) string { return makeToken(text, "x") }
	at := func(d time.Duration) string { return tokenUntil(now.Add(d), "x") }
	for _, test := range []struct {
		name, token string
		code        string        // "": accepted
		life        time.Duration // from now
		reason      string
	}{
		{"good", at(time.Hour), "", time.Hour, ""},
		{"expired within the clock skew", at(-time.Minute), "", -time.Minute, ""},
		{"with a fraction", claims(fmt.Sprintf(`{"exp":%d.75}`, now.Unix()+60)), "", time.Minute, ""},
		{"with an exponent", claims(`{"exp":2e9}`), "", time.Unix(2e9, 0).Sub(now), ""},
		{"expired", at(-time.Minute - time.Second), ExpiredToken, 0, "2026-11-30T11:58:59Z"},
		{"the first second", claims(`{"exp":0}`), ExpiredToken, 0, "1970-01-01"},
		{"empty", "", MalformedToken, 0, "three segments"},
		{"one segment", "abcd", MalformedToken, 0, "three segments"},
		{"two segments", "abcd.abcd", MalformedToken, 0, "three segments"},
		{"four segments", at(time.Hour) + ".abcd", MalformedToken, 0, "three segments"},
		{"many segments", strings.Repeat(".", maxToken), MalformedToken, 0, "three segments"},
		{"no header", at(time.Hour)[strings.Index(at(time.Hour), "."):], MalformedToken, 0, "segment 1"},
		{"no claims", "abcd..abcd", MalformedToken, 0, "segment 2"},
		{"no signature", at(time.Hour)[:strings.LastIndex(at(time.Hour), ".")+1], MalformedToken, 0, "segment 3"},
		{"white space", " " + at(time.Hour), MalformedToken, 0, "segment 1"},
		{"line feed", at(time.Hour) + "\n", MalformedToken, 0, "segment 3"},
		{"line feed inside", "ab\ncd." + at(time.Hour)[strings.Index(at(time.Hour), ".")+1:], MalformedToken, 0, "segment 1"},
		{"padding", at(time.Hour) + "==", MalformedToken, 0, "segment 3"},
		{"base64 that is not for URLs", "ab+/." + at(time.Hour)[strings.Index(at(time.Hour), ".")+1:], MalformedToken, 0, "segment 1"},
		{"not ASCII", "äöü.abcd.abcd", MalformedToken, 0, "segment 1"},
		{"NUL", "abc\x00.abcd.abcd", MalformedToken, 0, "segment 1"},
		{"claims that are not JSON", claims("exp=1"), MalformedToken, 0, "when it expires"},
		{"null", claims("null"), MalformedToken, 0, "when it expires"},
		{"a list", claims("[]"), MalformedToken, 0, "when it expires"},
		{"no exp", claims("{}"), MalformedToken, 0, "when it expires"},
		{"exp null", claims(`{"exp":null}`), MalformedToken, 0, "when it expires"},
		{"exp text", claims(`{"exp":"1"}`), MalformedToken, 0, "when it expires"},
		{"exp true", claims(`{"exp":true}`), MalformedToken, 0, "when it expires"},
		{"exp negative", claims(`{"exp":-1}`), MalformedToken, 0, "when it expires"},
		{"exp huge", claims(`{"exp":1e300}`), MalformedToken, 0, "when it expires"},
		{"exp infinite", claims(`{"exp":1e999}`), MalformedToken, 0, "when it expires"},
		{"two documents", claims(`{"exp":2000000000}{}`), MalformedToken, 0, "when it expires"},
		{"deep", claims(strings.Repeat("[", 9000)), MalformedToken, 0, "when it expires"},
		{"too long", at(time.Hour) + strings.Repeat("a", maxToken), MalformedToken, 0, "the limit is 16384"},
	} {
		expires, err := expiry(test.token, now)
		if test.code == "" {
			if err != nil || expires.Sub(now) != test.life {
				t.Errorf("%s: %v, %v", test.name, expires, err)
			}
			continue
		}
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != test.code || !strings.Contains(refused.Reason, test.reason) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestBearer(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   string // "": refused
	}{
		{[]string{"a.b.c"}, "a.b.c"},
		{[]string{"Bearer a.b.c"}, "a.b.c"},
		{[]string{"bearer a.b.c"}, "a.b.c"},
		{[]string{"Bearer "}, "Bearer "}, // refused later
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"a.b.c", "a.b.c"}, ""},
	} {
		got, err := bearer(test.values)
		var refused *RefusedError
		if got != test.want || (err != nil) != (test.want == "") || err != nil && (!errors.As(err, &refused) || refused.Code != MalformedToken) {
			t.Errorf("%q: %q, %v", test.values, got, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	f.Add(tokenUntil(now.Add(time.Hour), "x"))
	f.Add(makeToken(`{"exp":1e9}`, "x"))
	f.Add(makeToken(`{"exp":"1"}`, "x"))
	f.Add("Bearer a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		expires, err := expiry(text, now)
		if err != nil {
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Code == "" || refused.Reason == "" || len(refused.Reason) > 200 || !expires.IsZero() {
				t.Fatalf("%v, %#v", expires, err)
			}
			return
		}
		if len(text) > maxToken || now.Sub(expires) > maxSkew || expires.Year() > 9999 {
			t.Fatalf("expires at %v", expires)
		}
		for segment := range strings.SplitSeq(text, ".") {
			if _, err := base64.RawURLEncoding.DecodeString(segment); err != nil || segment == "" {
				t.Fatalf("segment %q", segment)
			}
		}
	})
}
