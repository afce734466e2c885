//go:build darwin || (linux && (amd64 || arm64))

package secfw

import "github.com/holdfast-dev/holdfast/keychain/internal/native"

const (
	statusSuccess      = 0
	statusItemNotFound = -25300 // errSecItemNotFound
)

// check returns an error for an OSStatus other than 0.
func (a *API) check(call string, status int32) error {
	if status == statusSuccess {
		return nil
	}
	e := &native.Error{Call: call, Domain: native.OSStatusDomain, Code: int(status), Message: "unknown error"}
	if s := a.sec.CopyErrorMessageString(status, 0); s != 0 {
		e.Message = a.text(s)
		a.cf.Release(s)
	}
	return e
}

// takeError converts a CFError to an error and releases it. It accepts NULL,
// because some calls fail without a CFError.
func (a *API) takeError(call string, ref Ref) error {
	if ref == 0 {
		return &native.Error{Call: call, Message: "no reason was given"}
	}
	defer a.cf.Release(ref)
	e := &native.Error{Call: call, Domain: a.text(a.cf.ErrorGetDomain(ref)), Code: a.cf.ErrorGetCode(ref)}
	if s := a.cf.ErrorCopyDescription(ref); s != 0 {
		e.Message = a.text(s)
		a.cf.Release(s)
	}
	return e
}
