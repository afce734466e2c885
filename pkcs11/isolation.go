package pkcs11

import (
	"cmp"
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
	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
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
	in := keystore.Isolation{Program: program, Value: isolation}
	if err == nil && program == "" && isolation == IsolationAuto {
		in.Refused = refusedHelper()
	}
	switch {
	case isolation == IsolationAuto && program != "":
		in.Reason = helperName + " is installed"
	case isolation == IsolationAuto && in.Refused == nil:
		in.Reason = helperName + " is not installed"
	case isolation == IsolationAuto:
		in.Reason = helperName + " cannot be used"
	case isolation == "" && program == "":
		in.Reason = "this build can load modules itself"
	case isolation == "":
		in.Reason = "this build cannot load modules itself"
	}
	return in, err
}

// EndedHelpers implements [keystore.Isolator].
func (Backend) EndedHelpers() int64 { return loaded.endedHelpers.Load() }

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
		return fmt.Errorf("%s is not a program", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0:
		err := fmt.Errorf("%s is not executable (mode %#o)", path, info.Mode().Perm())
		if strings.HasPrefix(filepath.Base(path), helperName) { // another file is no program of ours
			err = signer.WithHint(err, "make it executable: chmod +x "+path)
		}
		return err
	}
	if err := fileowner.CheckProgram(path); err != nil {
		return fmt.Errorf("the helper %s is refused: %w", path, err)
	}
	return nil
}

// findHelper returns the path of the helper's program. It is not searched for in PATH,
// where another program could have its name. The error is a [*helperError].
func findHelper() (string, error) {
	if path := os.Getenv(HelperVariable); path != "" {
		if !filepath.IsAbs(path) {
			return "", &helperError{err: fmt.Errorf("%s: %s is not an absolute path", HelperVariable, path)}
		}
		if err := checkHelper(path); err != nil {
			return "", &helperError{err: fmt.Errorf("%s: %w", HelperVariable, err)}
		}
		return path, nil
	}
	own, err := os.Executable()
	if err != nil { // such as without /proc
		err = signer.WithHint(fmt.Errorf("the helper %s was not found: the folder of this program is not known: %w", helperName, err),
			"set "+HelperVariable+" to the path of "+helperName)
		return "", &helperError{err, true}
	}
	if real, err := filepath.EvalSymlinks(own); err == nil {
		own = real
	}
	return findHelperOf(own)
}

// findHelperOf returns the path of the helper of the program at own. The error is a
// [*helperError].
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
			return "", &helperError{err: err}
		}
		return path, nil
	}
	put := fmt.Sprintf("install -m 755 %s '%s'", helperName, dir)
	if runtime.GOOS == "windows" {
		put = fmt.Sprintf("copy %s.exe \"%s\"", helperName, dir)
	}
	err := fmt.Errorf("the helper %s was not found in %s or %s", helperName, dir, filepath.Dir(places[1]))
	return "", &helperError{signer.WithHint(err, "install "+helperName+" of the same version there: "+put), true}
}

// startError returns the error of a program that could not be started. It exists, so that
// what is missing is its interpreter.
func startError(program string, err error) error {
	failed := fmt.Errorf("start %s: %w", program, err)
	if runtime.GOOS == "linux" && errors.Is(err, fs.ErrNotExist) {
		failed = signer.WithHint(failed, "the helper needs a C library, whose dynamic linker is missing here: ldd "+program+" lists both on a machine that has them")
	}
	return &helperError{err: failed}
}

// greetingError returns the error of a program that was started as the helper and did not
// greet as one, but ended as how says.
func greetingError(program string, how error) error {
	err := fmt.Errorf("%s is not a %s, or cannot run here: %w", program, helperName, how)
	switch version := wire.VersionError(0); {
	case errors.As(how, &version):
		err = fmt.Errorf("%s is the %s of another version: %w", program, helperName, how)
	case errors.Is(how, wire.ErrMalformed):
		err = fmt.Errorf("%s is not a %s: it writes something else", program, helperName)
	}
	return &helperError{err: err}
}

// A helperError reports that the helper cannot be used: it is not there, is refused, or is
// another program.
type helperError struct {
	err  error
	none bool // none is installed
}

func (e *helperError) Error() string { return e.err.Error() }

func (e *helperError) Unwrap() []error {
	is := []error{signer.ErrUnavailable, e.err}
	if e.none {
		is = append(is, errors.ErrUnsupported)
	}
	return is
}

func (e *helperError) Hint() string {
	mend := "install " + helperName + " of the same version as this program"
	if os.Getenv(HelperVariable) != "" {
		mend = "set the variable " + HelperVariable + " to the absolute path of " + helperName + " of the same version as this program, or unset it"
	}
	return cmp.Or(signer.Hint(e.err), mend)
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
