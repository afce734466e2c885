package doctor

import (
	"context"
	"errors"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
)

// checkTPM shows the lockout state of the TPM, if the key or its PIN is in it.
func checkTPM(ctx context.Context, p *patient) (results []result) {
	if p.hangs {
		return []result{skip("the device did not answer; see key")}
	}
	opts, err := p.keyOptions()
	if err != nil {
		return []result{skip("%v", err)} // key tells the fault
	}
	ctx, cancel := await.Limit(ctx, p.timeout())
	defer cancel()
	count := func(call func() ([]keystore.Tries, error)) error {
		tries, err := front.InterruptibleValue(ctx, p.key.Name(), call)
		for _, t := range tries {
			if t.Shared {
				results = append(results, p.lockout(t))
			}
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		return err
	}
	if _, bad := p.badModule(); !bad {
		if err := count(func() ([]keystore.Tries, error) { return p.key.Tries(ctx, p.App, opts) }); err != nil {
			results = append(results, skip("the count of tries could not be read: %v", err)) // key tells the fault
		}
	}
	for _, source := range p.key.PINSources(p.App) {
		err := count(func() ([]keystore.Tries, error) { return p.Store.Tries(ctx, source, opts) })
		switch {
		case err != nil && p.signer == nil && !p.badKey && !p.told(err): // the PIN was not needed until here
			r := failure(err)
			r.Seen = "the PIN cannot be read: " + r.Seen
			results = append([]result{r.paste(p.again("--use-pin"))}, results...)
		case err != nil && len(results) == 0:
			results = append(results, skip("the count of tries could not be read: %v", err))
		}
	}
	if len(results) == 0 {
		return []result{skip("neither the key nor its PIN is in a TPM")}
	}
	return results[:1]
}

// fewTries is the number of tries from which on the report warns.
const fewTries = 3

func (p *patient) lockout(t keystore.Tries) result {
	hint := "the lockout password resets the count"
	if t.Recovers > 0 {
		hint = "the TPM allows one more try every " + t.Recovers.String() + "; the lockout password resets the count at once"
	}
	switch {
	case t.Left == 0 && p.badKey:
		return skip("%s; see key", t)
	case t.Left == 0 && p.signer != nil: // the key needs no password
		return warn("%s", t).because(hint).paste(t.Unblock)
	case t.Left == 0:
		return failed(front.ExitPIN, "%s", t).because(hint).paste(t.Unblock)
	case t.Used && t.Left > 0 && t.Left <= fewTries:
		return warn("%s", t).because(hint).paste(t.Unblock)
	}
	return fine("%s", t)
}
