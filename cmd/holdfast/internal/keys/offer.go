package keys

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// offered reports whether entries of the kind are offered for a flag. A token is
// offered for a key, because many tokens hide their keys before a login; object=… can
// be added to its reference.
func offered(flag string, kind keystore.EntryKind) bool {
	switch flag {
	case "in":
		return true
	case "private-key":
		return kind == keystore.KeyEntry || kind == keystore.TokenEntry
	}
	return kind == keystore.CertificateEntry
}

// OfferReferences returns the references that list prints without a PIN, for
// completions. If typed names no kind of store, it returns the schemes that begin with
// it.
func OfferReferences(ctx context.Context, a front.App, fs *pflag.FlagSet, flag, typed string) (texts []string) {
	if a.Store == nil {
		return nil
	}
	for _, ref := range a.Store.Listers() {
		switch store := ref.String(); { // such as pkcs11:
		case strings.HasPrefix(typed, store):
			return offers(ctx, a, fs, flag, ref)
		case typed != "" && strings.HasPrefix(store, typed):
			texts = append(texts, store)
		}
	}
	return texts
}

func offers(ctx context.Context, a front.App, fs *pflag.FlagSet, flag string, ref keystore.Ref) (texts []string) {
	var device flags.Device
	for name, value := range map[string]*string{"pkcs11-lib": &device.Module, "pkcs11-isolation": &device.Isolation} {
		if f := fs.Lookup(name); f != nil {
			*value = f.Value.String()
		}
	}
	ref, err := device.Complete(a, ref)
	if err != nil {
		return nil
	}
	opts := a.Options(nil)
	opts.Permit = func(keystore.Prompt) error { return errors.New("completions use no PIN") }
	entries, _ := a.Store.List(ctx, ref, opts) // a store that cannot be read has no entries
	for _, e := range entries {
		text := e.Ref.String()
		if offered(flag, e.Kind) && front.OneLine(text) == text {
			texts = append(texts, text+"\t"+describe(e))
		}
	}
	return texts
}

// describe returns one line about an entry.
func describe(e keystore.Entry) string {
	words := []string{string(e.Kind)}
	switch {
	case e.Certificate != nil:
		words = append(words, e.Certificate.Subject.String())
	case e.Public != nil:
		words = append(words, signer.DescribeKey(e.Public))
	}
	if e.Comment != "" {
		words = append(words, keystore.Excerpt(e.Comment))
	}
	return strings.ReplaceAll(front.OneLine(strings.Join(words, " ")), "`", "'")
}
