package spiffe

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// socketVariable is the environment variable with the URI of the endpoint (SPIFFE
// Workload Endpoint, section 4).
const socketVariable = "SPIFFE_ENDPOINT_SOCKET"

// maxSocket bounds the path of a Unix socket, in bytes: sun_path of Linux has 108.
const maxSocket = 107

// An endpoint is the address of a Workload API, as package net names it.
type endpoint struct{ network, address string }

// String returns the endpoint for messages.
func (e endpoint) String() string { return fmt.Sprintf("%q", e.address) }

// errNoEndpoint is the error for a machine, or a process, without a Workload API.
var errNoEndpoint = errors.New(socketVariable + " is not set")

// endpointFrom returns the endpoint that the environment names.
func endpointFrom(call keystore.Call) (endpoint, error) {
	value := ""
	if call.LookupEnv != nil {
		value, _ = call.LookupEnv(socketVariable)
	}
	if value == "" {
		return endpoint{}, signer.WithHint(fmt.Errorf("%w: %w", signer.ErrUnavailable, errNoEndpoint),
			"export "+socketVariable+"=unix:///PATH of the socket of the agent, or add socket=PATH to the reference")
	}
	e, err := endpointOfURI(value)
	if err != nil {
		return endpoint{}, signer.WithHint(fmt.Errorf("variable %s: %w", socketVariable, err),
			"export "+socketVariable+"=unix:///PATH, with the absolute path of the socket of the agent")
	}
	return e, nil
}

// isURI reports whether the value of the attribute socket is a URI and not a path.
func isURI(socket string) bool {
	name, _, ok := strings.Cut(socket, ":")
	return ok && (name == "unix" || name == "tcp" || name == "npipe")
}

// endpointOf returns the endpoint of the attribute socket: a path or a URI.
func endpointOf(socket string) (endpoint, error) {
	if isURI(socket) {
		return endpointOfURI(socket)
	}
	return unixEndpoint(socket)
}

func unixEndpoint(path string) (endpoint, error) {
	if len(path) > maxSocket {
		return endpoint{}, fmt.Errorf("is a path of %d bytes, and that of a Unix socket has at most %d", len(path), maxSocket)
	}
	return endpoint{"unix", path}, nil
}

// endpointOfURI returns the endpoint of a URI (SPIFFE Workload Endpoint, section 4). The
// answer contains a private key in clear text, so an address of another machine is
// refused.
func endpointOfURI(text string) (endpoint, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return endpoint{}, errors.New("is not a URI")
	case u.Scheme == "npipe":
		return endpoint{}, fmt.Errorf("is a named pipe of Windows: %w", errors.ErrUnsupported)
	case u.Scheme != "unix" && u.Scheme != "tcp":
		return endpoint{}, errors.New("is neither a unix: nor a tcp: URI")
	case u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return endpoint{}, errors.New("has a part other than a scheme and an address")
	case u.Scheme == "unix" && (u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.ContainsRune(u.Path, 0)):
		return endpoint{}, errors.New("has no absolute path; a unix: URI has three slashes, as in unix:///run/agent.sock")
	case u.Scheme == "unix":
		return unixEndpoint(u.Path)
	case u.Path != "":
		return endpoint{}, errors.New("has a path, which a tcp: URI does not have")
	}
	address, err := netip.ParseAddrPort(u.Host)
	switch {
	case err != nil || address.Port() == 0:
		return endpoint{}, errors.New("is not of the form tcp://IP:PORT")
	case !address.Addr().Unmap().IsLoopback():
		return endpoint{}, errors.New("is not an address of this machine; the private key of the SVID would cross the network in clear text")
	}
	return endpoint{"tcp", address.String()}, nil
}
