package tpm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// attributes are the attributes of a "tpm:" reference.
var attributes = []string{"path", "handle", "device", "pin-source", "pin-value", "parent-auth-source", "endorsement-auth-source", "parent", "pcrs"}

// deviceVariable is the environment variable with the TPM device for references
// without a device. aws_signing_helper uses the same variable.
const deviceVariable = "TPM_DEVICE"

// configFor converts a reference to a Config. It reads the key file.
func configFor(ctx context.Context, ref keystore.Ref, call keystore.Call) (Config, error) {
	cfg, a, err := parse(ref, call)
	if err != nil {
		return Config{}, err
	}
	for _, name := range []string{"parent", "pcrs"} {
		if a[name] != "" {
			return Config{}, &keystore.RefError{Ref: ref.String(), Err: fmt.Errorf("attribute %q is only for creating a key", name)}
		}
	}
	switch file := (keystore.Ref{Scheme: keystore.SchemeFile, Rest: a["path"]}); {
	case cfg.Handle != 0:
		return cfg, nil
	case a["path"] != "":
		cfg.PEM, err = call.Read(ctx, file)
	default:
		cfg.PEM, err = call.Read(ctx, ref)
	}
	cfg.PEM, _ = armor.Decode(cfg.PEM)
	return cfg, err
}

// parse parses a reference. It does not read the key file.
func parse(ref keystore.Ref, call keystore.Call) (cfg Config, a map[string]string, err error) {
	refuse := func(err error) (Config, map[string]string, error) {
		return Config{}, nil, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	cfg = Config{PIN: call.PIN, Certificates: call.Certificates, Ref: ref, Logger: call.Logger, Now: call.Now, permit: call.Permit}
	switch ref.Scheme {
	case "handle": // as in aws_signing_helper: hexadecimal, with or without 0x
		a = map[string]string{"handle": "0x" + strings.TrimPrefix(strings.ToLower(ref.Rest), "0x")}
	case "tpm":
		if a, err = keystore.ParseAttributes(ref.Rest, attributes...); err != nil {
			if ref.Rest != "" && !strings.ContainsAny(ref.Rest, "=;") {
				err = signer.WithHint(err, "for a key file, write tpm:path="+ref.Rest)
			}
			return refuse(err)
		}
		if (a["path"] == "") == (a["handle"] == "") {
			return refuse(signer.WithHint(errors.New("must contain either path= or handle="),
				"use tpm:path=key.pem for a key file, or tpm:handle=0x81010002 for a persistent key"))
		}
	}
	if h := a["handle"]; h != "" {
		if cfg.Handle, err = parseHandle(h); err != nil || !isPersistent(cfg.Handle) {
			if hex, err := parseHandle("0x" + h); err == nil && isPersistent(hex) {
				return refuse(signer.WithHint(fmt.Errorf("%q is a hexadecimal number without 0x", h), "write tpm:handle=0x"+h))
			}
			return refuse(signer.WithHint(fmt.Errorf("%q is not a handle of a persistent object", h),
				"use a handle from 0x81000000 to 0x81ffffff; this shows the persistent keys: List with the reference tpm:"))
		}
	}
	if cfg.Device = a["device"]; cfg.Device == "" && call.LookupEnv != nil {
		cfg.Device, _ = call.LookupEnv(deviceVariable)
	}
	pin, source := a["pin-value"], a["pin-source"]
	switch {
	case pin != "" && source != "":
		return refuse(errors.New("contains both pin-source and pin-value"))
	case pin != "":
		cfg.PIN = call.PINValue(pin)
	case source != "":
		if cfg.PIN, err = pinSource(source, call); err != nil {
			return Config{}, nil, err
		}
	}
	for _, other := range []struct {
		name string
		pin  *keystore.PINFunc
	}{{"parent-auth-source", &cfg.ParentPIN}, {"endorsement-auth-source", &cfg.EndorsementPIN}} {
		if source := a[other.name]; source != "" {
			if *other.pin, err = pinSource(source, call); err != nil {
				return Config{}, nil, err
			}
		}
	}
	return cfg, a, nil
}

// pinSource returns the PINFunc for the value of a pin-source attribute.
func pinSource(text string, call keystore.Call) (keystore.PINFunc, error) {
	source, err := keystore.ParsePINSource(text)
	if err != nil {
		return nil, err
	}
	return call.PINSource(source)
}

// unnamedRef is the name of a key file without a reference.
var unnamedRef = keystore.Ref{Scheme: "tpm", Rest: "path=…"}

// name returns the name of the key for prompts and errors.
func (c Config) name() keystore.Ref {
	return cmp.Or(c.Ref, c.reference(), unnamedRef)
}

// reference returns a reference that opens the key again: by its handle if it
// is persistent, otherwise based on c.Ref, which may be zero. It does not
// contain pin-value and the attributes for creating a key.
func (c Config) reference() keystore.Ref {
	a := make(map[string]string)
	if c.Ref.Scheme == "tpm" {
		if known, err := keystore.ParseAttributes(c.Ref.Rest, attributes...); err == nil {
			a = known
		}
	}
	switch {
	case c.Handle != 0:
		delete(a, "path")
		a["handle"] = fmt.Sprintf("0x%08x", uint32(c.Handle))
	case a["path"] == "": // no "tpm:" reference
		return c.Ref
	}
	a["device"] = c.Device
	for _, name := range []string{"pin-value", "parent", "pcrs"} {
		delete(a, name)
	}
	return referenceOf(a)
}

// referenceOf returns the reference with these attributes.
func referenceOf(a map[string]string) keystore.Ref {
	var parts []string
	for _, name := range attributes {
		if value := a[name]; value != "" {
			parts = append(parts, keystore.FormatAttribute(name, value))
		}
	}
	return keystore.Ref{Scheme: "tpm", Rest: strings.Join(parts, ";")}
}
