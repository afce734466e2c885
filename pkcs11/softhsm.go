package pkcs11

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// softHSMConfigs are where SoftHSM looks for its configuration, in its order;
// the last two are those of distributions.
func softHSMConfigs() []string {
	var paths []string
	if path := os.Getenv("SOFTHSM2_CONF"); path != "" {
		paths = append(paths, path)
	}
	if home := os.Getenv("HOME"); home != "" {
		paths = append(paths, filepath.Join(home, ".config", "softhsm2", "softhsm2.conf"))
	}
	return append(paths, "/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf")
}

// hintNoSoftToken is the hint for SoftHSM without a token: often the variable is
// missing in a new shell or in a service.
const hintNoSoftToken = "SoftHSM: check that SOFTHSM2_CONF names the configuration file, whose directories.tokendir is the folder of the tokens"

// softHSMHint says the way out if this user may not read SoftHSM's configuration
// or its folder of tokens, of which the module says nothing; otherwise it is "".
func softHSMHint() string {
	for _, path := range softHSMConfigs() {
		config, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			path = tokenDir(string(config))
			_, err = os.ReadDir(path)
		}
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Sprintf("SoftHSM: this user may not read %s; join the group softhsm (usermod -aG softhsm USER, then log in again), "+
				"or set SOFTHSM2_CONF to a configuration of your own, with directories.tokendir in it", path)
		}
		return ""
	}
	return ""
}

// tokenDir returns the folder of tokens that a configuration of SoftHSM names.
func tokenDir(config string) string {
	for line := range strings.Lines(config) {
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(name) == "directories.tokendir" {
			return strings.TrimSpace(value)
		}
	}
	return "/var/lib/softhsm/tokens"
}
