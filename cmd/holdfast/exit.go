package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
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
var exits = []struct {
	matches func(error) bool
	code    int
	hint    string
}{
	{as[*usageError], exitUsage, "see holdfast help, or --help after the command"},
	{as[*keystore.RefError], exitUsage, "a reference is a path, -, env:NAME or SCHEME:…; see docs/references.md"},
	{is(rolesanywhere.ErrConfig), exitUsage, "see holdfast help credential-process"},
	{is(signer.ErrPINRequired), exitPIN, "give it by --pin-source file:PATH, env:NAME or prompt"},
	{is(signer.ErrPINIncorrect), exitPIN, "check the password or PIN; one line end after it in a file is ignored"},
	{is(signer.ErrPINLocked), exitPIN, "unblock it with the tools of the device's vendor"},
	{is(signer.ErrNotFound), exitNotFound, "check the reference"},
	{is(signer.ErrAmbiguous), exitNotFound, "name one of them more precisely"},
	{is(signer.ErrNoCertificate), exitNotFound, "name the certificate's file with --certificate"},
	{is(fs.ErrNotExist), exitNotFound, "check the name; a relative path begins at the current folder"},
	{as[*rolesanywhere.APIError], exitRefused, "run again with --debug, and look for the CreateSession event in CloudTrail"},
	{is(rolesanywhere.ErrUnreachable), exitUnreachable, "check the network, the endpoint and the proxy"},
	{is(signer.ErrUnavailable), exitUnavailable, "check that the device is there and that nothing else holds it"},
	{is(errors.ErrUnsupported), exitUnavailable, "see docs/references.md for what this version opens"},
	{is(fs.ErrPermission), exitUnavailable, "run as a user who may read it, or change its mode"},
	{is(context.Canceled), exitOther, "interrupted; run it again"},
	{as[*rolesanywhere.CertificateError], exitOther, "use another certificate"},
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

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
