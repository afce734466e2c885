package pkcs11

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/environ"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// The values of URI.Isolation say in which process a module runs. A module that crashes
// or hangs in a helper process does not take this one with it; signatures continue with
// another helper.
const (
	IsolationOff  = "off"  // in this process, which needs cgo
	IsolationOn   = "on"   // in a helper process
	IsolationAuto = "auto" // in a helper process if its program is installed, else in this one
	// "": in this process if the program was built with cgo, else in a helper process
)

func checkIsolation(value string) error {
	if values := []string{IsolationOff, IsolationOn, IsolationAuto}; !slices.Contains(values, value) {
		return errors.New("is not one of " + strings.Join(values, ", "))
	}
	return nil
}

// HelperVariable names the variable with the path of the helper's program, for a program
// that is installed elsewhere.
const HelperVariable = "HOLDFAST_PKCS11_HELPER"

const helperName = "holdfast-pkcs11"

// isolation returns where a module of cfg runs.
func (cfg Config) isolation() string {
	if cfg.URI.Isolation == "" && cfg.longRunning {
		return IsolationAuto
	}
	return cfg.URI.Isolation
}

// Isolation implements [keystore.Isolator].
func (Backend) Isolation(ref keystore.Ref, call keystore.Call) (keystore.Isolation, error) {
	u, err := parseURI(ref.Rest)
	if err != nil {
		return keystore.Isolation{}, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	isolation := Config{URI: u, longRunning: call.LongRunning}.isolation()
	program, err := helperFor(isolation)
	in := keystore.Isolation{Program: program}
	if err == nil && program == "" && isolation == IsolationAuto {
		in.Refused = refusedHelper()
	}
	return in, err
}

// refusedHelper returns why the helper that is there cannot be used. nil: it can, or there is
// none.
func refusedHelper() error {
	_, err := findHelper()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// helperFor returns the path of the helper's program, or "" if the module runs in this
// process.
func helperFor(isolation string) (string, error) {
	here := supported()
	switch isolation {
	case IsolationOff:
		return "", here
	case IsolationOn:
		return findHelper()
	case IsolationAuto:
		program, err := findHelper()
		if err != nil && here == nil {
			return "", nil
		}
		return program, err
	}
	if here == nil {
		return "", nil
	}
	return findHelper()
}

// checkHelper refuses a program that users other than this one and root can write or
// replace. Windows protects C:\Program Files.
func checkHelper(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return signer.WithHint(fmt.Errorf("%s is not a program", path), "install "+helperName+" of the same version as this program")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0:
		return signer.WithHint(fmt.Errorf("%s is not executable (mode %#o)", path, info.Mode().Perm()), "make it executable: chmod +x "+path)
	}
	return fileowner.CheckProgram(path)
}

// findHelper returns the path of the helper's program. It is not searched for in PATH,
// where another program could have its name.
func findHelper() (string, error) {
	if path := os.Getenv(HelperVariable); path != "" {
		if !filepath.IsAbs(path) {
			return "", signer.WithHint(fmt.Errorf("%s: %s is not an absolute path", HelperVariable, path), "give the absolute path of "+helperName)
		}
		if err := checkHelper(path); err != nil {
			return "", fmt.Errorf("%s: %w", HelperVariable, err)
		}
		return path, nil
	}
	own, err := os.Executable()
	if err != nil { // such as without /proc
		return "", signer.WithHint(fmt.Errorf("PKCS#11 modules run in the helper %s, but the folder of this program is not known: %w: %v", helperName, errors.ErrUnsupported, err),
			"set "+HelperVariable+" to the path of "+helperName)
	}
	if real, err := filepath.EvalSymlinks(own); err == nil {
		own = real
	}
	return findHelperOf(own)
}

// findHelperOf returns the path of the helper of the program at own.
func findHelperOf(own string) (string, error) {
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	dir := filepath.Dir(own)
	places := []string{
		filepath.Join(dir, helperName+suffix),
		filepath.Join(dir, "..", "libexec", "holdfast", helperName+suffix),
		filepath.Join(dir, helperName+"-"+runtime.GOOS+"-"+runtime.GOARCH+suffix), // as script/build-all names it
	}
	for _, path := range places {
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if err := checkHelper(path); err != nil {
			return "", err
		}
		return path, nil
	}
	return "", signer.WithHint(fmt.Errorf("PKCS#11 modules run in the helper %s, which is neither %s nor %s: %w", helperName, places[0], places[1], errors.ErrUnsupported),
		"install "+helperName+" of the same version there, or set "+HelperVariable+" to its path")
}

// InstalledHelper returns the path of the helper's program with which modules would run
// with isolation=on, and the version that this program tells when it is started. The path
// is "" if none was found or it is refused; the version is "" on any error. The error
// matches [errors.ErrUnsupported] if none is installed. It does not load a module. The
// version need not be that of this program: a helper with another protocol is an error.
func InstalledHelper(ctx context.Context) (path, version string, err error) {
	if path, err = findHelper(); err != nil {
		return "", "", err
	}
	h, err := startHelper(ctx, path, "", os.Environ())
	if err != nil {
		return path, "", err
	}
	h.end(nil)
	<-h.ended
	return path, h.version, nil
}

// startError returns the error of a program that could not be started. It exists, so that
// what is missing is its interpreter.
func startError(program string, err error) error {
	failed := &helperError{fmt.Errorf("start %s: %w", program, err)}
	if runtime.GOOS == "linux" && errors.Is(err, fs.ErrNotExist) {
		return signer.WithHint(failed, "the helper needs a C library, whose dynamic linker is missing here: ldd "+program+" lists both on a machine that has them")
	}
	return failed
}

// A helperError reports that the program of the helper is not one.
type helperError struct{ err error }

func (e *helperError) Error() string   { return e.err.Error() }
func (e *helperError) Unwrap() []error { return []error{signer.ErrUnavailable, e.err} }
func (e *helperError) Hint() string {
	return cmp.Or(signer.Hint(e.err), "install "+helperName+" of the same version as this program")
}

// loggingVariables are set in this process for modules that write to standard error.
var loggingVariables = [...]string{"TSS2_LOG", "TPM2_PKCS11_LOG_LEVEL"}

// helperEnv returns the environment of the helper: that of programs of keys, or else that
// of this process, without the variable that has the PIN.
func (c Config) helperEnv() []string {
	env := slices.Clone(c.environ)
	if env == nil {
		env = os.Environ()
	}
	for _, name := range loggingVariables {
		if value, set := os.LookupEnv(name); set {
			env = append(environ.Without(env, []string{name}), name+"="+value)
		}
	}
	if source, err := keystore.ParseRef(c.URI.PINSource); err == nil && source.Scheme == keystore.SchemeEnv {
		env = environ.Without(env, []string{source.Rest})
	}
	return env
}
