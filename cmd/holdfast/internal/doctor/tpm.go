package doctor

import (
	"context"
	"errors"
	"runtime"

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
			results = append(results, p.countFailed(err))
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
			results = append(results, p.countFailed(err))
		}
	}
	if len(results) == 0 {
		return []result{skip("neither the key nor its PIN is in a TPM")}
	}
	return results[:1]
}

// countFailed is the result for a count that could not be read, because of err.
func (p *patient) countFailed(err error) result {
	if p.badKey { // for the same reason
		return skip("the count of tries was not read; see key")
	}
	return skip("the count of tries could not be read: %v", err)
}

// tpmVariable names the TPM, as of package tpm.
const tpmVariable = "TPM_DEVICE"

// listTPMs returns r, the fault of a TPM that cannot be used, with a command that
// shows whether it is there.
func (p *patient) listTPMs(r result) result {
	device := p.Env(tpmVariable)
	if device == "" || runtime.GOOS == "windows" {
		return r.paste("ls -l /dev/tpm*")
	}
	r.Hint = tpmVariable + " must be the path of a TPM device, or of a Unix socket of an emulator"
	return r.with("ls", "-l", device)
}

// fewTries is the number of tries from which on the report warns.
const fewTries = 3

func (p *patient) lockout(t keystore.Tries) result {
	hint := "the lockout password resets the count: if the TPM has one, add --auth file:PATH"
	if t.Recovers > 0 {
		hint = "the TPM allows one more try every " + t.Recovers.String() + "; the lockout password resets the count at once: if the TPM has one, add --auth file:PATH"
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
