package pkcs11

import (
	"context"
	"errors"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
)

// Tries implements [keystore.TryCounter] with the flags of the tokens that match
// ref. They say only whether a wrong PIN was entered, and whether one or no try is
// left. Tokens whose keys need no PIN are left out.
func (Backend) Tries(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Tries, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	return bounded(ctx, cfg.in(&loaded), func() ([]keystore.Tries, error) { return triesNow(cfg, &loaded) }, nil)
}

func triesNow(cfg Config, table *modules) (tries []keystore.Tries, err error) {
	mod, err := table.find(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mod.release()) }()
	all, err := tokens(mod, cfg.URI)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.info.flags&cktFlagLoginRequired == 0 {
			continue
		}
		n := keystore.Tries{Device: "token " + quote(trim(t.info.label)), Left: -1, Used: t.info.flags&cktFlagUserPINCountLow != 0}
		n.Unblock = strings.Replace("pkcs11-tool --module PATH --login --login-type so --init-pin", "PATH", mod.path, 1)
		switch {
		case t.info.flags&cktFlagUserPINLocked != 0:
			n.Left = 0
		case t.info.flags&cktFlagUserPINFinalTry != 0:
			n.Left = 1
		}
		tries = append(tries, n)
	}
	return tries, nil
}
