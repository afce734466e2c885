package authority

import (
	"context"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
)

// Related returns the other certificates of the line of c that have neither expired at
// the time now nor been revoked, in the order of issue. If the key of c is compromised,
// they also are those of the same key, and of each line in which the key signed a
// request; their keys then count as compromised, too. Those whose file is missing can
// be valid, too.
func Related(entries []Certificate, c Certificate, compromised bool, now time.Time) (found []Certificate) {
	lines, keys := map[string]bool{c.Line: true}, map[string]bool{c.Key: true}
	for before := 0; compromised && before != len(lines)+len(keys); {
		before = len(lines) + len(keys)
		for _, e := range entries {
			switch {
			case e.Key == "":
			case keys[e.Key]:
				lines[e.Line] = true
			case lines[e.Line] && (e.isValid(now) || e.Reason == pki.KeyCompromise):
				keys[e.Key] = true
			}
		}
	}
	for _, e := range entries {
		if lines[e.Line] && e.Serial != c.Serial && e.isValid(now) {
			found = append(found, e)
		}
	}
	return found
}

// RevokeLine revokes the certificate with a serial number like [Authority.Revoke], and
// then those that [Related] returns, which it returns as well. No certificate is issued
// meanwhile. After an interruption, the same call revokes the rest.
func (a *Authority) RevokeLine(ctx context.Context, serial string, reason pki.Reason) (others []Certificate, err error) {
	t, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer t.end()
	c, ok := t.state.certificates[serial]
	if !ok {
		return nil, errUnknown(serial)
	}
	if c.Revoked.IsZero() {
		if err := t.append(event{Kind: revoked, Serial: serial, Reason: reason}); err != nil {
			return nil, err
		}
	}
	entries := make([]Certificate, len(t.state.serials))
	for i, serial := range t.state.serials {
		entries[i] = *t.state.certificates[serial]
	}
	compromised := reason == pki.KeyCompromise || c.Reason == pki.KeyCompromise
	for _, o := range Related(entries, *c, compromised, t.opts.now()) {
		if err := t.append(event{Kind: revoked, Serial: o.Serial, Reason: reason}); err != nil {
			return others, err
		}
		others = append(others, o)
	}
	return others, nil
}
