//go:build cgo

package pkcs11

import (
	"os"
	"path/filepath"
	"time"
)

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
