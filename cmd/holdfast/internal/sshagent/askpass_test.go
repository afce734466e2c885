//go:build unix

package sshagent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program writes a shell script. No other test of the package runs at the same time,
// whose new process could have it open for writing (ETXTBSY).
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNewAskpass(t *testing.T) {
	path := program(t, "#!/bin/sh\n")
	for _, c := range []struct {
		env  string
		want string
	}{
		{"SSH_ASKPASS=" + path + " DISPLAY=:0", ""},
		{"SSH_ASKPASS=" + path + " WAYLAND_DISPLAY=wayland-0", ""},
		{"SSH_ASKPASS=" + path + " SSH_ASKPASS_REQUIRE=force", ""},
		{"SSH_ASKPASS=" + path + " SSH_ASKPASS_REQUIRE=Prefer DISPLAY=:0", ""},
		{"SSH_ASKPASS=" + path, "no display"},
		{"SSH_ASKPASS=" + path + " SSH_ASKPASS_REQUIRE=prefer", "no display"},
		{"SSH_ASKPASS=" + path + " SSH_ASKPASS_REQUIRE=never DISPLAY=:0", "forbids"},
		{"SSH_ASKPASS=/none DISPLAY=:0", "/none"},
	} {
		_, err := newAskpass(func(name string) string {
			for _, v := range strings.Fields(c.env) {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value
				}
			}
			return ""
		}, nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.env, err, c.want)
		}
	}
}

func TestAsk(t *testing.T) {
	for _, c := range []struct {
		script string
		ok     bool
	}{
		{`exit 0`, true},
		{`echo`, true},
		{`echo YES`, true},
		{`test "$1" = 'Allow use of key x?' && test "$SSH_ASKPASS_PROMPT" = confirm && test "$OTHER" = other`, true},
		{`exit 1`, false},
		{`echo yes; exit 1`, false},
		{`echo no`, false},
		{`kill $$`, false},
		{`yes no`, false},
	} {
		p := &askpass{path: program(t, "#!/bin/sh\n"+c.script+"\n"), environ: []string{"PATH=" + os.Getenv("PATH"), "OTHER=other", "SSH_ASKPASS_PROMPT=confirm"}, turn: make(chan struct{}, 1)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if strings.HasPrefix(c.script, "yes") {
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		err := p.ask(ctx, "Allow use of key x?")
		cancel()
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	p := &askpass{path: "/none", turn: make(chan struct{}, 1)}
	if err := p.ask(t.Context(), ""); err == nil || errors.Is(err, errRefused) {
		t.Error(err)
	}
	// Another question is shown.
	p.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.ask(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
