package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
)

// A token is a backend whose references have the form NAME=VALUE;…. The
// attribute path names a file. The attribute set can be set unless other is
// present.
type token struct{ *backend }

func (token) Uses(ref keystore.Ref) keystore.Uses {
	return keystore.UsesOfAttributes(ref.Rest, ";", "path")
}

func (token) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if name != "set" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value, "other"), nil
}

// A vault is a token that is also an Unsealer.
type vault struct{ token }

func (vault) Unseal(context.Context, keystore.Ref, keystore.Call) ([]byte, error) {
	return nil, errBroken
}

// newDependents returns a Store of files, tokens, vaults, and a backend without
// capabilities.
func newDependents() *keystore.Store {
	return keystore.New(file.Backend{}, token{newBackend("token", "token")}, newBackend("plain", "plain"), vault{token{newBackend("vault", "vault")}})
}

func refsOf(t *testing.T, texts ...string) []keystore.Ref {
	t.Helper()
	var refs []keystore.Ref
	for _, text := range texts {
		refs = append(refs, refOf(t, text))
	}
	return refs
}

func TestStoreUses(t *testing.T) {
	deep := "env:DEEP"
	for range 8 {
		deep = "token:" + keystore.FormatAttribute("x-source", deep)
	}
	deeper := "token:" + keystore.FormatAttribute("x-source", deep)
	for _, test := range []struct {
		refs    []string
		want    keystore.Uses
		sources []string
	}{
		{nil, keystore.Uses{}, nil},
		{[]string{"-", "plain:path=a;pin-source=env:X", "unknown:path=a;pin-source=env:X"}, keystore.Uses{}, nil},
		{[]string{"a", "file:b%20c", "a", "env:X", "env:X"}, keystore.Uses{Files: []string{"a", "b c"}, Variables: []string{"X"}}, nil},
		{[]string{"token:path=a;pin-source=file:p;parent-auth-source=env:X", "token:path=a;pin-source=p;auth-source=env:X"},
			keystore.Uses{Files: []string{"a"}, Variables: []string{"X"}}, []string{"p", "env:X"}},
		{[]string{"token:pin-source=vault:path=sealed%3Bpin-source=env:X"}, keystore.Uses{Variables: []string{"X"}},
			[]string{"vault:path=sealed;pin-source=env:X", "env:X"}},
		{[]string{"vault:path=a"}, keystore.Uses{Files: []string{"a"}}, nil},
		// Not PIN sources, but possibly PINs.
		{[]string{"token:pin-source=pass:s3cret", "token:pin-source=-", "token:pin-source=token:path=a%3Bpin-source=env:X"}, keystore.Uses{Variables: []string{"X"}}, []string{"env:X"}},
		// Partly malformed.
		{[]string{"token:", "token:;;=;path;path=;path=%zz;pin-source;pin-source=;pin-source=env:;pin-source=%0A", "token:nothing;path=a;pin-source=env:X;=;path=b"},
			keystore.Uses{Files: []string{"a", "b"}, Variables: []string{"X"}}, []string{"env:X"}},
		{[]string{deep}, keystore.Uses{Variables: []string{"DEEP"}}, []string{"env:DEEP"}},
		{[]string{deeper}, keystore.Uses{}, nil},
	} {
		test.want.PINSources = refsOf(t, test.sources...)
		if got := newDependents().Uses(refsOf(t, test.refs...)...); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %+v, want %+v", test.refs, got, test.want)
		}
	}
	store := newDependents()
	u := store.Uses(refOf(t, "token:path=a;pin-source=vault:path=sealed%3Bpin-source=file:p"))
	if got := store.Uses(u.PINSources...).Files; !slices.Equal(got, []string{"sealed", "p"}) {
		t.Errorf("the PIN sources use the files %q", got)
	}
	if got := store.Uses(keystore.Ref{}); !reflect.DeepEqual(got, keystore.Uses{}) {
		t.Errorf("the zero Ref uses %+v", got)
	}
}

func TestStoreSetAttribute(t *testing.T) {
	store := newDependents()
	for _, test := range []struct{ ref, value, want string }{
		{"token:", "v", "token:set=v"},
		{"token:path=a", "v", "token:path=a;set=v"},
		{"TOKEN:path=a", "a;b%c\n", "token:path=a;set=a%3Bb%25c%0A"},
		{"token:set=w", "v", "token:set=w"},
		{"token:path=a;set=", "v", "token:path=a;set="},
		{"token:other=1;path=a", "v", "token:other=1;path=a"},
		{"token:x%=&;;", "v", "token:x%=&;;;set=v"}, // malformed parts stay unchanged
		{"token:path=set=w;another=x", "v", "token:path=set=w;another=x;set=v"},
		{"token:set", "v", "token:set;set=v"},
		{"token:pin-value=s3cret", "v", "token:pin-value=s3cret;set=v"},
		{"token:", "", "token:"},
		{"plain:", "", "plain:"},
		{"unknown:", "", "unknown:"},
	} {
		ref := refOf(t, test.ref)
		got, err := store.SetAttribute(ref, "set", test.value)
		if err != nil || got != refOf(t, test.want) {
			t.Errorf("%s: got %#v, error %v, want %s", ref, got, err, test.want)
		}
	}
	tooLong := "token:path=" + strings.Repeat("a", 16<<10-len("token:path="))
	for _, test := range []struct {
		ref, name, value string
		unsupported      bool // otherwise a *keystore.RefError
		shows            string
	}{
		{"token:pin-value=s3cret", "path", "v", true, `attribute "path"`},
		{"token:pin-value=s3cret", strings.Repeat("x", 1<<20), "v", true, "attribute"},
		{"plain:pin-value=s3cret", "set", "v", true, "plain: set an attribute of plain:pin-value=…"},
		{"a", "set", "v", true, "file: set an attribute of a"},
		{"unknown:pin-value=s3cret", "set", "v", false, "unknown"},
		{"token:pin-value=s3cret", "set", "-----BEGIN s3cret", false, "PEM"},
		{tooLong, "set", "v", false, "longer"},
	} {
		ref := refOf(t, test.ref)
		got, err := store.SetAttribute(ref, test.name, test.value)
		var refErr *keystore.RefError
		if got != ref || errors.Is(err, errors.ErrUnsupported) != test.unsupported || errors.As(err, &refErr) == test.unsupported {
			t.Errorf("%.80s: got %#v, error %.1000v", test.ref, got, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, test.shows) || strings.Contains(text+signer.Hint(err), "s3cret") || len(text) > 1000 {
			t.Errorf("%.80s: error %.1000q", test.ref, text)
		}
		if test.unsupported && signer.Hint(err) == "" {
			t.Errorf("%s: error %v has no hint", test.ref, err)
		}
	}
}

func TestStoreRebase(t *testing.T) {
	for _, ref := range append(refsOf(t, "token:path=a", "plain:a", "unknown:a", "-", "env:A"), keystore.Ref{}) {
		if got := newDependents().Rebase(ref, "/etc"); got != ref {
			t.Errorf("%s became %s", ref, got)
		}
	}
}

func TestUsesShowNoPIN(t *testing.T) {
	u := newDependents().Uses(refOf(t, "token:pin-source=vault:path=a%3Bpin-value=s3cret;pin-value=s3cret"))
	if text := fmt.Sprintf("%v %+v %#v", u, u, u); strings.Contains(text, "s3cret") || !strings.Contains(text, "pin-value=…") {
		t.Errorf("shown as %s", text)
	}
}
