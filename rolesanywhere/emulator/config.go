package emulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/boundedtoml"
)

// maxFile is the maximum size of a file that a configuration names, in bytes.
const maxFile = 1 << 20

// maxConfig is the maximum size of a configuration, in bytes. It is smaller
// because the decoder uses 1 KiB of memory for each nested array.
const maxConfig = 64 << 10

// LoadConfig reads a Config from a TOML file. It resolves relative paths in the
// file against the file's folder. [New] reads the files that the Config names.
func LoadConfig(path string) (Config, error) {
	b, err := readFile(path, maxConfig)
	if err != nil {
		return Config{}, fmt.Errorf("emulator: %w", err)
	}
	cfg, keys, err := boundedtoml.Decode[Config](context.Background(), string(b))
	if err != nil {
		return Config{}, fmt.Errorf("emulator: %s: %w", path, err)
	}
	if len(keys) > 0 {
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = k.String()
		}
		return Config{}, fmt.Errorf("emulator: %s: unknown keys: %s", path, strings.Join(names, ", "))
	}

	if err := checkAccess(string(b)); err != nil {
		return Config{}, fmt.Errorf("emulator: %s: %w", path, err)
	}

	resolve := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	for i := range cfg.TrustAnchors {
		a := &cfg.TrustAnchors[i]
		for j := range a.CertificateFiles {
			resolve(&a.CertificateFiles[j])
		}
		for j := range a.CRLFiles {
			resolve(&a.CRLFiles[j])
		}
	}
	resolve(&cfg.PrivateCA.KeyFile)
	resolve(&cfg.State)
	for i := range cfg.Roles {
		resolve(&cfg.Roles[i].TrustPolicyFile)
	}
	return cfg, nil
}

// checkAccess refuses keys that are given, but empty. Without these keys everybody has
// access, which an empty value hardly means.
func checkAccess(text string) error {
	cfg, _, err := boundedtoml.Decode[struct {
		Profiles []struct {
			RoleARNs *[]string `toml:"role_arns"`
		} `toml:"profiles"`
		Roles []struct {
			TrustPolicy     *string `toml:"trust_policy"`
			TrustPolicyFile *string `toml:"trust_policy_file"`
		} `toml:"roles"`
		PrivateCA struct {
			RoleARNs *[]string `toml:"role_arns"`
		} `toml:"private_ca"`
	}](context.Background(), text)
	if err != nil {
		return err
	}
	const hint = "is empty; without it, %s"
	isEmpty := func(list *[]string) bool { return list != nil && len(*list) == 0 }
	for i, r := range cfg.Roles {
		for name, value := range map[string]*string{"trust_policy": r.TrustPolicy, "trust_policy_file": r.TrustPolicyFile} {
			if value != nil && *value == "" {
				return fmt.Errorf("%s of role %d "+hint, name, i+1, "the role trusts every session")
			}
		}
	}
	for i, p := range cfg.Profiles {
		if isEmpty(p.RoleARNs) {
			return fmt.Errorf("role_arns of profile %d "+hint, i+1, "the profile contains all configured roles of its account")
		}
	}
	if isEmpty(cfg.PrivateCA.RoleARNs) {
		return fmt.Errorf("role_arns of the private CA "+hint, "all roles of its account may use it")
	}
	return nil
}

// readFile reads a regular file of at most limit bytes. It checks the file before it
// opens it, because opening a device can have an effect, and again afterwards, because
// another file may have its name by then.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err := cmp.Or(err, checkRegular(path, info)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	b, err := readRegular(f, limit)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return b, nil
}

// readRegular does not read a file that has the size 0, because a read from some of
// them, such as /proc/kmsg, waits.
func readRegular(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err := cmp.Or(err, checkRegular(f.Name(), info)); err != nil || info.Size() == 0 {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", f.Name(), limit)
	}
	return b, err
}

func checkRegular(path string, info os.FileInfo) error {
	if info == nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	return nil
}
