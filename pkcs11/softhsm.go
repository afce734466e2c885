package pkcs11

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
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

// isSoftHSM reports whether the module at path is SoftHSM, as far as its name says so.
func isSoftHSM(path string) bool { return strings.Contains(filepath.Base(path), "softhsm") }

// softHSMTokens counts the tokens in SoftHSM's folder.
func softHSMTokens() int {
	for _, path := range softHSMConfigs() {
		if config, err := os.ReadFile(path); err == nil {
			found, _ := filepath.Glob(filepath.Join(tokenDir(string(config)), "*", "token.object"))
			return len(found)
		}
	}
	return 0
}

// settleAttempts and settlePause bound how long settleSoftHSM waits for others.
const (
	settleAttempts = 10
	settlePause    = 20 * time.Millisecond
)

func settle() { time.Sleep(settlePause) }

// settleSoftHSM initializes SoftHSM again, a few times, while it shows fewer
// tokens than its folder has. Each login writes the token's file, and SoftHSM
// leaves out a token whose file another process is just writing.
func settleSoftHSM(mod module, again func() error, pause func()) error {
	for range settleAttempts {
		shown, err := tokens(mod, URI{})
		if err != nil || len(shown) >= softHSMTokens() {
			return nil // errors are those of the caller
		}
		pause()
		if err := again(); err != nil {
			return err
		}
	}
	return nil
}
