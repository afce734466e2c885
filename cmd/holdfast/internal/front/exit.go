package front

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/sharedfile"
	"github.com/holdfast-dev/holdfast/signer"
)

// Exit codes, documented in docs/errors.md.
const (
	ExitOther       = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitPIN         = 4
	ExitUnavailable = 5
	ExitRefused     = 6
	ExitUnreachable = 7
	ExitOverdue     = 8
)

// ExitMeanings says in short what the exit codes mean. The table of docs/errors.md
// begins with these words.
var ExitMeanings = []struct {
	Code    int
	Meaning string
}{
	{0, "success"},
	{ExitOther, "any other error"},
	{ExitUsage, "invalid usage, reference, ARN, region, duration or profile name"},
	{ExitNotFound, "key, certificate or file not found, or more than one found"},
	{ExitPIN, "password or PIN missing, incorrect or locked"},
	{ExitUnavailable, "device or file unavailable, or not supported"},
	{ExitRefused, "refused by AWS, or by the CA of a renewal"},
	{ExitUnreachable, "AWS, or the CA of a renewal, unreachable, or another server answered"},
	{ExitOverdue, "renew failed, and less than a sixth of the life of the certificate is left"},
}

// An exit is the exit code and the hint of some errors.
type exit struct {
	matches func(error) bool
	code    int
	hint    string
}

// exits maps errors to exit codes and hints. The first entry that matches an
// error applies. Its hint is used only if the error has no hint. Errors that
// may wrap errors of the operating system precede those errors.
func exits() []exit {
	return []exit{
		{is(ErrOutput), ExitOther, "the result is lost; run the command again"},
		{is(context.Canceled), ExitOther, "interrupted; run the command again"},
		{is(signer.ErrPINRequired), ExitPIN, "give the PIN or password with --pin-source file:PATH, env:NAME, prompt or pinentry"},
		{is(signer.ErrPINIncorrect), ExitPIN, hintIncorrect},
		{is(signer.ErrPINLocked), ExitPIN, "unblock the PIN with the tools of the device vendor"},
		{is(rolesanywhere.ErrUnreachable), ExitUnreachable, "check the network, the endpoint and the proxy"},
		{is(renew.ErrUnreachable), ExitUnreachable, "check the network and the CA; the next try sends the same request"},
		{as[*rolesanywhere.APIError], ExitRefused, "run again with --debug, and look for the CreateSession event in CloudTrail"},
		{is(renew.ErrInProgress), ExitUnavailable, "wait until it is done"},
		{as[*renew.WaitError], ExitUnavailable, "run the command again later; it asks for the same certificate"},
		{is(renew.ErrRejected), ExitRefused, "ask the operator of the CA; its log can have the reason"},
		{is(signer.ErrUnavailable), ExitUnavailable, "check that the device is connected and that no other program is using it"},
		{is(context.DeadlineExceeded), ExitUnavailable, "run the command again, and allow more time if it has --timeout"},
		{is(sharedfile.ErrProfile), ExitUsage, "choose another name with --profile"},
		{is(sharedfile.ErrFormat), ExitOther, "repair the file in an editor; docs/update.md lists the unsupported contents"},
		{is(sharedfile.ErrLocked), ExitUnavailable, "another holdfast update is writing the file or hangs; try again"},
		{as[*net.AddrError], ExitUsage, "write the address as HOST:PORT, such as 127.0.0.1:9911 or, with brackets, [::1]:9911"},
		{as[*net.OpError], ExitUnavailable, "choose another address with --listen; port 0 selects a free port"},
		{is(exec.ErrNotFound), ExitNotFound, "check the command name and PATH"},
		{absolutePathNotFound, ExitNotFound, "check the name"},
		{is(fs.ErrNotExist), ExitNotFound, hintRelative},
		{is(fs.ErrExist), ExitOther, "choose another name"},
		{is(fs.ErrPermission), ExitUnavailable, "run as a user who can read the file, or change its permissions"},
		{as[*UsageError], ExitUsage, "see holdfast --help"},
		{as[*keystore.RefError], ExitUsage, "a reference is a path, -, env:NAME or SCHEME:…; see docs/references.md"},
		{is(rolesanywhere.ErrConfig), ExitUsage, "see holdfast --help"},
		{is(signer.ErrNotFound), ExitNotFound, "check the reference"},
		{is(signer.ErrAmbiguous), ExitNotFound, "use a more specific reference"},
		{is(signer.ErrNoCertificate), ExitNotFound, "name the certificate file with --certificate"},
		{is(errors.ErrUnsupported), ExitUnavailable, "docs/references.md lists the supported references"},
		{as[*rolesanywhere.CertificateError], ExitOther, "use another certificate"},
		{fromFileBackend, ExitOther, "check the name; the file must contain a key or certificate in PEM, DER or PKCS #12; check it with openssl pkey -in FILE -noout or openssl x509 -in FILE -noout"},
		{func(error) bool { return true }, ExitOther, "run again with --debug for details"},
	}
}

const (
	hintIncorrect      = "check the PIN or password; one newline at the end of the file is ignored"
	hintIncorrectTyped = "run the command again, and type the PIN or password again"
	hintRelative       = "check the name; a relative path starts in the current directory"
	hintRelativeConfig = "check the name; a relative path in a configuration file starts in the folder of that file, and elsewhere in the current directory"
)

// A UsageError reports an invalid command line.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a [UsageError] with a formatted error.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// A StatusError is the exit code of a child process. The program exits with the
// same code and prints no error.
type StatusError struct{ Code int }

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the command exited with code %d", e.Code)
}

// A CodeError is an error with an exit code of its own.
type CodeError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *CodeError) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *CodeError) Unwrap() error { return e.Err }

// fail prints the error of a command with a hint and returns the exit code.
func (a App) fail(cmd *cobra.Command, args []string, err error) int {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	code, hint := Explain(err)
	if (as[*UsageError](err) || errors.Is(err, rolesanywhere.ErrConfig)) && code == ExitUsage && signer.Hint(err) == "" {
		hint = "see " + cmd.CommandPath() + " --help"
	}
	if config := cmd.Flags().Lookup("config"); hint == hintRelative && config != nil && config.Changed {
		hint = hintRelativeConfig
	}
	if hint == hintIncorrect && a.answered != nil && a.answered.Load() {
		hint = hintIncorrectTyped
	}
	if isolation := cmd.Flags().Lookup("pkcs11-isolation"); strings.HasPrefix(hint, "set --pkcs11-isolation to auto") && isolation != nil && !isolation.Changed &&
		a.Env("HOLDFAST_PKCS11_ISOLATION") == "off" && !strings.Contains(strings.Join(args, " "), "isolation=") {
		hint = "unset the variable HOLDFAST_PKCS11_ISOLATION, or set it to auto"
	}
	if strings.Contains(hint, debugFlag) && cmd.Flags().Lookup("debug") == nil {
		hint = "docs/errors.md lists the kinds of errors and their causes"
	}
	if cmd.Flags().Lookup(noPasswordFlag) == nil {
		hint = strings.Replace(hint, noPasswordHint, "", 1)
	}
	if name := droppedFlag(cmd, err.Error()); name != "" && code == ExitUsage {
		hint = "--" + name + " is an empty text, which counts as not given: check the variable; " + hint
	}
	var own *CodeError
	if errors.As(err, &own) {
		code = own.Code
	}
	fmt.Fprintf(a.Stderr, "holdfast: %s\nhint: %s\n", Redact(err.Error(), args), Redact(hint, args))
	return code
}

// Explain returns the exit code of an error and a hint of one line.
func Explain(err error) (code int, hint string) {
	for _, e := range exits() {
		if !e.matches(err) {
			continue
		}
		if hint := hintOfName(err); hint != "" {
			return e.code, hint
		}
		if own := signer.Hint(err); own != "" {
			return e.code, quoteReferences(withFlags(own))
		}
		return e.code, e.hint
	}
	panic("unreachable: the last entry matches every error")
}

const debugFlag = "--debug"

// absolutePathNotFound reports whether a file with an absolute path, which can begin the
// text of the error, does not exist.
func absolutePathNotFound(err error) bool {
	var target *fs.PathError
	if name, _, _ := strings.Cut(err.Error(), ": "); errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(name) {
		return true
	}
	return errors.As(err, &target) && errors.Is(target, fs.ErrNotExist) && filepath.IsAbs(target.Path)
}

// fromFileBackend reports whether err is an error of the file backend.
func fromFileBackend(err error) bool {
	var target *signer.Error
	return errors.As(err, &target) && target.Backend == "file"
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
