package tpm

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// GenerateSuccessor implements [keystore.Rekeyer] for key files. The new key has the
// parent of the old one, a password if the old one has, and is bound to the current
// values of the PCRs to which the old one is bound.
func (Backend) GenerateSuccessor(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, _ crypto.PublicKey, call keystore.Call) (keystore.Key, error) {
	call.Certificates = nil // those of the old key
	cfg, create, path, err := successorConfigFor(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return generate(ctx, cfg, create, path, spec)
	}
	if err := keystore.CheckSuccessor(path); err != nil {
		return nil, err
	}
	if cfg, err = configFor(ctx, cfg.Ref, call); err != nil {
		return nil, err
	}
	if err := checkSuccessor(cfg.PEM, create); err != nil {
		return nil, signer.WithHint(fmt.Errorf("%s: %w", path, err), keystore.HintSuccessor)
	}
	k, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// checkSuccessor returns an error unless a key file is protected like one that create
// makes.
func checkSuccessor(pem []byte, create CreateConfig) error {
	f, err := parseKeyPEM(pem)
	if err != nil {
		return err
	}
	pcrs, err := pcrsOf(f)
	if err != nil {
		return err
	}
	if f.parent != create.Parent || f.emptyAuth != (create.PIN == nil) || !reflect.DeepEqual(pcrs, create.PCRs) {
		return errors.New("it is not protected like the old key")
	}
	return nil
}

// successorConfigFor is createConfigFor for the key that is to take the place of the
// one that ref names.
func successorConfigFor(ctx context.Context, ref keystore.Ref, call keystore.Call) (Config, CreateConfig, string, error) {
	fail := func(err error) (Config, CreateConfig, string, error) { return Config{}, CreateConfig{}, "", err }
	cfg, err := configFor(ctx, ref, call)
	if err != nil {
		return fail(err)
	}
	path, next := "", ref
	if ref.Scheme == "tpm" {
		a, err := keystore.ParseAttributes(ref.Rest, attributes...)
		if err != nil {
			return fail(err)
		}
		if path = a["path"]; path != "" {
			path += keystore.SuccessorSuffix
			a["path"] = path
		}
		next = referenceOf(a)
	} else if file, ok := ref.File(); ok {
		path = file + keystore.SuccessorSuffix
		next.Rest = path
	}
	if path == "" {
		return fail(signer.WithHint(fmt.Errorf("the key is not in a key file: %w", errors.ErrUnsupported), "use a key in a file, as in tpm:path=key.pem"))
	}
	f, err := parseKeyPEM(cfg.PEM)
	if err != nil {
		return fail(err)
	}
	create := CreateConfig{Device: cfg.Device, Parent: f.parent, ParentPIN: cfg.ParentPIN, Ref: next, Logger: cfg.Logger}
	if create.PCRs, err = pcrsOf(f); err != nil {
		return fail(err)
	}
	if !f.emptyAuth {
		create.PIN = cfg.PIN.Required()
	}
	cfg.PIN, cfg.PEM, cfg.Ref = create.PIN, nil, next
	return cfg, create, path, nil
}

// pcrsOf returns the PCRs to which the policy of a key binds it.
func pcrsOf(f *keyFile) (all []PCRs, err error) {
	p, err := policyOf(f)
	if err != nil {
		return nil, err
	}
	for _, s := range p {
		if s.command != tpm2.TPMCCPolicyPCR {
			continue
		}
		pcrs, err := parsePCRs(s.parameters)
		if err != nil {
			return nil, err
		}
		for _, bank := range pcrs.Pcrs.PCRSelections {
			selected := PCRs{}
			for _, known := range bankIDs {
				if known.Value == bank.Hash {
					selected.Hash = known.Key
				}
			}
			for n := range uint(len(bank.PCRSelect) * 8) {
				if bank.PCRSelect[n/8]&(1<<(n%8)) != 0 {
					selected.Numbers = append(selected.Numbers, n)
				}
			}
			all = append(all, selected)
		}
	}
	return all, nil
}
