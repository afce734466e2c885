package credentials_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

var complete = credentials.Credentials{
	AccessKeyID:     "ASIAEXAMPLE",
	SecretAccessKey: "the/secret+key",
	SessionToken:    "the/session+token=",
	Expires:         time.Date(2026, 11, 21, 13, 14, 15, 0, time.FixedZone("", 3600)),
	AccountID:       "123456789012",
}

// wantRedacted checks that s does not contain a secret as text, in hexadecimal
// or as a list of bytes, and that it contains the access key ID.
func wantRedacted(t *testing.T, what, s string) {
	t.Helper()
	for _, secret := range []string{complete.SecretAccessKey, complete.SessionToken} {
		for _, form := range []string{"%s", "%x", "%X", "% x", "%d", "%o", "%b", "%U"} {
			if bad := strings.Trim(fmt.Sprintf(form, []byte(secret)), "[]"); strings.Contains(s, bad) {
				t.Errorf("%s contains a secret: %s", what, s)
			}
		}
	}
	if !strings.Contains(s, complete.AccessKeyID) {
		t.Errorf("%s does not contain the access key ID: %s", what, s)
	}
}

// Package fmt does not call a Formatter for %T and %p, nor for %w if the value
// is not an error.
func TestPrintingRedacts(t *testing.T) {
	type wrapper struct{ Credentials credentials.Credentials }
	values := map[string]any{
		"value":     complete,
		"pointer":   &complete,
		"wrapped":   wrapper{complete},
		"pointed":   &wrapper{complete},
		"interface": any(complete),
		"slice":     []credentials.Credentials{complete},
		"map":       map[string]credentials.Credentials{"": complete},
		"key":       map[credentials.Credentials]bool{complete: true},
	}
	for verb := '!'; verb <= '~'; verb++ {
		if strings.ContainsRune("%*.#+-0123456789[Tpw", verb) {
			continue // only the last three are verbs
		}
		for _, flags := range []string{"", "#", "+", "-", " ", "0", "20", ".3", "+#", "-40.2"} {
			format := "%" + flags + string(verb)
			for name, value := range values {
				wantRedacted(t, format+" of "+name, fmt.Sprintf(format, value))
			}
		}
	}
	for name, value := range values {
		wantRedacted(t, "Sprint of "+name, fmt.Sprint(value))
		wantRedacted(t, "Sprintln of "+name, fmt.Sprintln(value))
		wantRedacted(t, "superfluous argument "+name, fmt.Sprintf(name, value))
		wantRedacted(t, "Errorf of "+name, fmt.Errorf("bad credentials: %v", value).Error())
	}
}

func TestLoggingRedacts(t *testing.T) {
	type wrapper struct{ Credentials credentials.Credentials }
	for _, handler := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		for name, log := range map[string]func(*slog.Logger){
			"argument": func(l *slog.Logger) { l.Info("new", "credentials", complete) },
			"pointer":  func(l *slog.Logger) { l.Info("new", "credentials", &complete) },
			"Any":      func(l *slog.Logger) { l.Info("new", slog.Any("credentials", complete)) },
			"group":    func(l *slog.Logger) { l.Info("new", slog.Group("g", "credentials", complete)) },
			"With":     func(l *slog.Logger) { l.With("credentials", complete).WithGroup("g").Info("new") },
			"wrapped":  func(l *slog.Logger) { l.Info("new", "credentials", wrapper{complete}) },
			"slice":    func(l *slog.Logger) { l.Info("new", "credentials", []credentials.Credentials{complete}) },
			"bad key":  func(l *slog.Logger) { l.Info("new", []any{complete}...) },
			"in error": func(l *slog.Logger) { l.Info("new", "error", fmt.Errorf("bad: %v", complete)) },
		} {
			var b bytes.Buffer
			h := handler(&b)
			log(slog.New(h))
			wantRedacted(t, fmt.Sprintf("%T, %s", h, name), b.String())
		}
	}
}

func TestJSONRedacts(t *testing.T) {
	for name, value := range map[string]any{
		"value": complete, "pointer": &complete, "map": map[string]any{"c": complete}, "slice": []credentials.Credentials{complete},
	} {
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		wantRedacted(t, name, string(b))
	}
	b, err := json.Marshal(complete)
	if err != nil {
		t.Fatal(err)
	}
	var back credentials.Credentials
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.AccessKeyID != complete.AccessKeyID || back.AccountID != complete.AccountID || !back.Expires.Equal(complete.Expires) {
		t.Errorf("the other fields are lost: %v", back)
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *credentials.Credentials)
		ahead  time.Duration // of now before the expiration
		ok     bool
	}{
		{"complete", nil, time.Hour, true},
		{"a nanosecond left", nil, 1, true},
		{"expired just now", nil, 0, false},
		{"expired", nil, -time.Hour, false},
		{"in UTC", func(c *credentials.Credentials) { c.Expires = c.Expires.UTC() }, time.Minute, true},
		{"without account", func(c *credentials.Credentials) { c.AccountID = "" }, time.Hour, true},
		{"empty", func(c *credentials.Credentials) { *c = credentials.Credentials{} }, time.Hour, false},
		{"no access key ID", func(c *credentials.Credentials) { c.AccessKeyID = "" }, time.Hour, false},
		{"no secret access key", func(c *credentials.Credentials) { c.SecretAccessKey = "" }, time.Hour, false},
		{"no session token", func(c *credentials.Credentials) { c.SessionToken = "" }, time.Hour, false},
		{"white space", func(c *credentials.Credentials) { c.SessionToken += " " }, time.Hour, false},
		{"a line end", func(c *credentials.Credentials) { c.SecretAccessKey += "\n" }, time.Hour, false},
		{"a letter outside ASCII", func(c *credentials.Credentials) { c.AccessKeyID = "ÄSIA" }, time.Hour, false},
		{"no expiration", func(c *credentials.Credentials) { c.Expires = time.Time{} }, time.Hour, false},
	} {
		c := complete
		if test.change != nil {
			test.change(&c)
		}
		err := c.Check(complete.Expires.Add(-test.ahead))
		if (err == nil) != test.ok || err != nil && !errors.Is(err, credentials.ErrIncomplete) {
			t.Errorf("%s: error %v, want none: %t", test.name, err, test.ok)
		}
		if err != nil && (strings.Contains(err.Error(), complete.SecretAccessKey) || strings.Contains(err.Error(), complete.SessionToken)) {
			t.Errorf("%s: the error contains a secret", test.name)
		}
	}
	// Before the year 1, as with a clock that was never set, the zero time
	// is in the future.
	c := complete
	c.Expires = time.Time{}
	if err := c.Check(time.Time{}.AddDate(-1, 0, 0)); !errors.Is(err, credentials.ErrIncomplete) {
		t.Errorf("no expiration, early clock: error %v, want ErrIncomplete", err)
	}
}
