package spiffe

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// codes are the names of the status codes of gRPC, by their numbers.
var codes = [...]string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
	"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

// errEnded is the error for a call that ends without an error, as when an agent stops.
var errEnded = errors.New("it ended the call")

// status returns the error of a call that has ended, from its trailer (gRPC over HTTP2,
// Responses; SPIFFE Workload Endpoint, section 6).
func (e endpoint) status(trailer http.Header) error {
	text := trailer.Get("Grpc-Status")
	code, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(code) >= len(codes) {
		return signer.WithHint(fmt.Errorf("%w: the Workload API at %s ended the call without a status", signer.ErrUnavailable, e), e.check())
	}
	reason := errors.New(codes[code])
	if message := message(trailer); message != "" {
		reason = fmt.Errorf("%s: %q", codes[code], clip(message))
	}
	switch codes[code] {
	case "OK", "Canceled", "Unavailable", "DeadlineExceeded", "ResourceExhausted":
		if code == 0 {
			reason = errEnded
		}
		return signer.WithHint(fmt.Errorf("%w: the Workload API at %s: %w", signer.ErrUnavailable, e, reason), "try again; the agent may still be starting, and its log may have the reason")
	case "PermissionDenied":
		return signer.WithHint(fmt.Errorf("%w: the Workload API has no identity for this process: %w", signer.ErrNotFound, reason), e.register())
	case "Unimplemented":
		return signer.WithHint(fmt.Errorf("%s is not a SPIFFE Workload API: %w", e, reason), e.check())
	}
	return signer.WithHint(fmt.Errorf("the Workload API at %s: %w", e, reason), "the log of the agent may have the reason")
}

// message returns the message of a status, which is percent-encoded (gRPC over HTTP2).
func message(trailer http.Header) string {
	text := trailer.Get("Grpc-Message")
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	return text
}

// register returns the hint for a process without an identity.
func (e endpoint) register() string {
	if e.network != "unix" {
		return "register the workload, such as with spire-server entry create; the agent must recognize this user and program"
	}
	return "register the workload, such as with spire-server entry create; this must show its SVID, as the same user: spire-agent api fetch x509 -socketPath " + quote(e.address)
}

// check returns the hint for an endpoint that does not answer as it should.
func (e endpoint) check() string {
	if e.network != "unix" {
		return "check that the agent is running, and that " + socketVariable + " or the attribute socket names its address"
	}
	return "check that this is the socket of the agent, and that the agent is running: spire-agent healthcheck -socketPath " + quote(e.address)
}

// quote returns a path as a word of a shell.
func quote(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return !inName(r) && r != '/' }) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

// unreachable returns the error for an endpoint to which there is no connection.
func (s *stream) unreachable(err error) error {
	if s.ctx.Err() == nil && errors.Is(err, fs.ErrPermission) {
		return signer.WithHint(fmt.Errorf("%w: %s: %w", signer.ErrUnavailable, s.endpoint, err),
			"run as a user who may connect to the socket; its folder and the socket itself must allow it")
	}
	return s.broken(err)
}
