package tpm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
)

// Tries implements [keystore.TryCounter]. A TPM counts the tries for all its keys
// together, also for keys of other programs.
func (Backend) Tries(ctx context.Context, ref keystore.Ref, call keystore.Call) (_ []keystore.Tries, err error) {
	cfg := Config{}
	if ref.Scheme == "tpm" || ref.Scheme == "handle" {
		if cfg, _, err = parse(ref, call); err != nil {
			return nil, err
		}
	} else if call.LookupEnv != nil { // a key file
		cfg.Device, _ = call.LookupEnv(deviceVariable)
	}
	return bounded(ctx, cfg.Device, func() ([]keystore.Tries, error) { return triesNow(ctx, cfg) }, nil)
}

func triesNow(ctx context.Context, cfg Config) (tries []keystore.Tries, err error) {
	d, err := dialer(dial).open(ctx, cfg.Device)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	l, err := readLockout(d)
	if errors.Is(err, Error(tpm2.TPMRCInitialize)) && !d.managed {
		if _, err = (tpm2.Startup{StartupType: tpm2.TPMSUClear}).Execute(d); err == nil {
			l, err = readLockout(d)
		}
	}
	if err != nil {
		return nil, err
	}
	name := deviceName(cmp.Or(cfg.Device, d.path))
	return []keystore.Tries{{Device: name, Left: l.triesLeft(), Used: l.tries > 0, Shared: true, Recovers: l.interval, Unblock: unblock(cfg.Device)}}, nil
}

// unblock returns the command that resets the count. It needs the lockout
// password.
func unblock(device string) string {
	const line = "tpm2_dictionarylockout --clear-lockout"
	if device == "" {
		return line
	}
	if info, err := os.Stat(device); err == nil && info.Mode()&fs.ModeSocket != 0 {
		return line + " --tcti swtpm:path=" + device
	}
	return line + " --tcti device:" + device
}
