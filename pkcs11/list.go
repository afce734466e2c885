package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
)

// List implements [keystore.Lister]. It lists tokens, private keys and
// certificates. To see private keys, it logs in if ref or call has a PIN and
// exactly one token matches ref: each other token would count the PIN as a
// wrong one. If several tokens match, it logs a warning. Without a login, or if
// it fails, List returns the objects that are visible without one. Without a PIN
// it logs a warning if a token shows no keys until a login.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	return list(ctx, cfg, &loaded)
}

func list(ctx context.Context, cfg Config, table *modules) ([]keystore.Entry, error) {
	var found collector
	_, err := bounded(ctx, cfg.in(table), func() (struct{}, error) { return struct{}{}, listNow(ctx, cfg, table, &found) }, nil)
	return found.all(), err
}

// A collector collects entries while the module may stop to answer.
type collector struct {
	mu      sync.Mutex
	entries []keystore.Entry
}

func (c *collector) add(some []keystore.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, some...)
}

func (c *collector) all() []keystore.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.entries)
}

// listNow is list, but waits for the module without a limit.
func listNow(ctx context.Context, cfg Config, table *modules, found *collector) (err error) {
	mod, err := table.find(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mod.release()) }()
	all, unread, err := readTokens(mod, cfg.URI)
	if err != nil {
		return err
	}
	unread = slices.DeleteFunc(unread, removed) // a removed token is not an error
	log, noPIN := logging.OrDiscard(cfg.Logger), cfg.PIN == nil
	if cfg.PIN != nil && len(all) > 1 {
		cfg.PIN = nil
		log.Warn(fmt.Sprintf("the PIN was not used, because %d tokens match %s; select one with token=…", len(all), cfg.name()))
	}
	var hiding []token
	for _, t := range all {
		if err := ctx.Err(); err != nil { // a token can take long
			return errors.Join(append(unread, err)...)
		}
		some, err := listToken(ctx, cfg, t)
		found.add(some)
		unread = append(unread, err)
		if noPIN && err == nil && t.info.flags&cktFlagLoginRequired != 0 && !hasKey(some) {
			hiding = append(hiding, t)
		}
	}
	for _, t := range hiding {
		name := t.uri().withModuleOf(cfg.URI).String()
		log.Warn("without a PIN, keys may be hidden", "token", name, "hint", "to see them: List with the reference '"+name+"' and let Options.PIN ask")
	}
	return errors.Join(unread...)
}

func hasKey(entries []keystore.Entry) bool {
	return slices.ContainsFunc(entries, func(e keystore.Entry) bool { return e.Kind == keystore.KeyEntry })
}

// listToken lists t and its objects. It can return entries together with an
// error.
func listToken(ctx context.Context, cfg Config, t token) (entries []keystore.Entry, err error) {
	add := func(u URI, kind keystore.EntryKind) *keystore.Entry {
		ref := keystore.Ref{Scheme: "pkcs11", Rest: u.withModuleOf(cfg.URI).String()[len("pkcs11:"):]}
		entries = append(entries, keystore.Entry{Ref: ref, Kind: kind})
		return &entries[len(entries)-1]
	}
	add(t.uri(), keystore.TokenEntry)
	session, err := t.mod.openSession(t.slot, false)
	if err != nil {
		return entries, t.wrap(err)
	}
	defer func() {
		if closeErr := t.mod.closeSession(session); err == nil {
			err = t.wrap(closeErr)
		}
	}()
	loginErr := loginToList(ctx, cfg, t, session)
	if lost(loginErr) {
		return entries, loginErr
	}
	keys, unread, err := readObjects(t.mod, session, cfg.URI, ckoPrivateKey, keyAttributes...)
	if err != nil {
		return entries, errors.Join(loginErr, t.wrap(err))
	}
	failed := []error{withPrefix("a private key", unread)}
	for _, k := range keys {
		e := add(k.uri(t), keystore.KeyEntry)
		if pub, err := publicFromToken(t.mod, session, k); err == nil {
			e.Public = pub
		}
	}
	certs, unread, err := readObjects(t.mod, session, cfg.URI, ckoCertificate, ckaCertificateType, ckaValue)
	failed = append(failed, withPrefix("a certificate", unread), err)
	for _, o := range certs {
		if kind, err := ulong(o.values[ckaCertificateType]); err == nil && kind != ckcX509 {
			continue
		}
		if c, err := o.certificate(); err != nil {
			failed = append(failed, withPrefix("certificate "+o.uri(t).String(), err))
		} else {
			add(o.uri(t), keystore.KindOf(c)).Certificate = c
		}
	}
	return entries, errors.Join(loginErr, t.wrap(errors.Join(failed...)))
}

// loginToList logs in if cfg has a PIN.
func loginToList(ctx context.Context, cfg Config, t token, session uint) (err error) {
	if cfg.PIN == nil {
		return nil
	}
	// Another process may have used tries since the flags were read.
	if t.info, err = t.mod.tokenInfo(t.slot); err != nil {
		return t.wrap(err)
	}
	d := newAuthenticator(cfg).begin(ctx)
	defer d.end()
	return d.login(t, session)
}
