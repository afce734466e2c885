package ecp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	maxConfig = 1 << 20 // bytes

	section     = "cert_configs.holdfast"
	sectionHint = `add "holdfast": {"certificate": "FILE", "private_key": "REFERENCE"} to "cert_configs"; see docs/google.md`
)

// readConfig returns the key that the configuration file of a client names.
func readConfig(store *keystore.Store, path string) (id keystore.Identity, err error) {
	data, err := keystore.ReadFile(path, maxConfig)
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err
		}
		return id, fmt.Errorf("%s: %w", path, err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return id, err
	}
	id, err = parseConfig(data)
	if err != nil {
		return id, fmt.Errorf("%s: %w", path, err)
	}
	for _, ref := range []*keystore.Ref{&id.Certificate, &id.Key, &id.Intermediates} {
		*ref = store.Rebase(*ref, folder)
	}
	return id, nil
}

// parseConfig reads the section of Holdfast. The others are those of Google's own
// signers and of other programs.
func parseConfig(data []byte) (id keystore.Identity, err error) {
	var file struct {
		Configs map[string]json.RawMessage `json:"cert_configs"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return id, configError("", err)
	}
	own, ok := file.Configs["holdfast"]
	if !ok {
		return id, signer.WithHint(usageErrorf("the file has no section %q", section), sectionHint)
	}
	var refs struct {
		Certificate   string `json:"certificate"`
		PrivateKey    string `json:"private_key"`
		Intermediates string `json:"intermediates"`
	}
	decoder := json.NewDecoder(bytes.NewReader(own))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&refs); err != nil {
		return id, configError(section+": ", err)
	}
	for _, r := range []struct {
		name, text string
		ref        *keystore.Ref
	}{
		{"certificate", refs.Certificate, &id.Certificate},
		{"private_key", refs.PrivateKey, &id.Key},
		{"intermediates", refs.Intermediates, &id.Intermediates},
	} {
		if r.text == "" {
			continue
		}
		if *r.ref, err = keystore.ParseRef(r.text); err != nil {
			return id, fmt.Errorf("%s.%s: %w", section, r.name, err)
		}
		if r.text == "-" {
			return id, signer.WithHint(usageErrorf("%s.%s is standard input, which belongs to the client", section, r.name), "name a file or a key in a device")
		}
	}
	if id.Key.IsZero() && id.Certificate.IsZero() {
		return id, signer.WithHint(usageErrorf("%s names no key", section), sectionHint)
	}
	return id, nil
}

// configError describes an error of encoding/json without Go's names. The text of
// the file, which can have secrets of other programs, is not in it.
func configError(where string, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		err = usageErrorf("%sthe file is not JSON: error at byte %d", where, syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		err = usageErrorf("%s%q has the wrong type: %s", where, kind.Field, kind.Value)
	case errors.As(err, &kind):
		err = usageErrorf("%sit has the wrong type: %s", where, kind.Value)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		err = usageErrorf("%sthe file is not JSON: it ends too early", where)
	default: // the name of an unknown field
		err = usageErrorf("%s%w", where, err)
	}
	return signer.WithHint(err, "docs/google.md has an example of the file")
}
