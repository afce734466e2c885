package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os/exec"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/sharedfile"
	"github.com/holdfast-dev/holdfast/signer"
)

// The exit codes. docs/errors.md has them for people.
const (
	exitOther       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitPIN         = 4
	exitUnavailable = 5
	exitRefused     = 6
	exitUnreachable = 7
)

// exits is the one table from errors to exit codes. The first entry that an
// error matches is taken; its hint serves if the error brings none of its own.
// What wraps the operating system's errors comes before these.
var exits = []struct {
	matches func(error) bool
	code    int
	hint    string
}{
	{is(context.Canceled), exitOther, "interrupted; run it again"},
	{is(signer.ErrPINRequired), exitPIN, "give it by --pin-source file:PATH, env:NAME or prompt"},
	{is(signer.ErrPINIncorrect), exitPIN, "check the password or PIN; one line end after it in a file is ignored"},
	{is(signer.ErrPINLocked), exitPIN, "unblock it with the tools of the device's vendor"},
	{is(rolesanywhere.ErrUnreachable), exitUnreachable, "check the network, the endpoint and the proxy"},
	{as[*rolesanywhere.APIError], exitRefused, "run again with --debug, and look for the CreateSession event in CloudTrail"},
	{is(signer.ErrUnavailable), exitUnavailable, "check that the device is there and that nothing else holds it"},
	{is(sharedfile.ErrProfile), exitUsage, "choose another name with --profile"},
	{is(sharedfile.ErrFormat), exitOther, "mend the file in an editor; docs/update.md says what is refused"},
	{is(sharedfile.ErrLocked), exitUnavailable, "another update is writing, or hangs; try again"},
	{as[*net.AddrError], exitUsage, "an address is HOST:PORT, such as 127.0.0.1:9911"},
	{as[*net.OpError], exitUnavailable, "choose another address with --listen; port 0 takes a free one"},
	{is(exec.ErrNotFound), exitNotFound, "check the command's name and PATH"},
	{absentAbsolute, exitNotFound, "check the name"},
	{is(fs.ErrNotExist), exitNotFound, "check the name; a relative path begins at the current folder"},
	{is(fs.ErrExist), exitOther, "choose another name"},
	{is(fs.ErrPermission), exitUnavailable, "run as a user who may read it, or change its mode"},
	{as[*usageError], exitUsage, "see holdfast --help"},
	{as[*keystore.RefError], exitUsage, "a reference is a path, -, env:NAME or SCHEME:…; see docs/references.md"},
	{is(rolesanywhere.ErrConfig), exitUsage, "see holdfast --help"},
	{is(signer.ErrNotFound), exitNotFound, "check the reference"},
	{is(signer.ErrAmbiguous), exitNotFound, "name one of them more precisely"},
	{is(signer.ErrNoCertificate), exitNotFound, "name the certificate's file with --certificate"},
	{is(errors.ErrUnsupported), exitUnavailable, "see docs/references.md for what this version opens"},
	{as[*rolesanywhere.CertificateError], exitOther, "use another certificate"},
	{ofFile, exitOther, "check the name, and that the file holds a key or a certificate in PEM, DER or PKCS #12; openssl pkey -in FILE -noout and openssl x509 -in FILE -noout tell"},
	{func(error) bool { return true }, exitOther, "run again with --debug to see more"},
}

// explain returns the exit code of an error and one line that says the way out.
func explain(err error) (code int, hint string) {
	for _, e := range exits {
		if !e.matches(err) {
			continue
		}
		if own := signer.Hint(err); own != "" {
			return e.code, own
		}
		return e.code, e.hint
	}
	panic("unreachable: the last entry matches every error")
}

// absentAbsolute matches errors of files whose absolute path was given.
func absentAbsolute(err error) bool {
	var target *fs.PathError
	return errors.As(err, &target) && errors.Is(target, fs.ErrNotExist) && filepath.IsAbs(target.Path)
}

// ofFile matches errors of keys and certificates in files.
func ofFile(err error) bool {
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
