package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// Where a daemon listens unless it is told otherwise. The port is that of
// aws_signing_helper.
const (
	DefaultHost   = "127.0.0.1"
	DefaultPort   = 9911
	DefaultListen = "127.0.0.1:9911"
)

// openListeners opens the addresses that the flags name, or takes the sockets
// of systemd.
func (d *daemon) openListeners(ctx context.Context) error {
	if err := d.takeSockets(); err != nil {
		return err
	}
	addr := cmp.Or(d.cfg.Listen, DefaultListen)
	if len(d.listeners) == 0 {
		if err := d.listen(ctx, &d.listeners, "--listen", addr, exposesCredentials); err != nil {
			return err
		}
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	for _, setup := range d.cfg.Roles {
		if setup.Port == 0 {
			continue
		}
		own := net.JoinHostPort(host, strconv.Itoa(setup.Port))
		if err := d.listen(ctx, &d.listeners, "port of role "+setup.Name, own, exposesCredentials); err != nil {
			return err
		}
	}
	if d.cfg.StatusListen != "" {
		if err := d.listen(ctx, &d.status, "--status-listen", d.cfg.StatusListen, exposesStatus); err != nil {
			return err
		}
	}
	for _, l := range append(d.listeners[:len(d.listeners):len(d.listeners)], d.status...) {
		if err := limitHops(l, d.cfg.HopLimit); err != nil {
			return fmt.Errorf("--hop-limit: %w", err)
		}
	}
	return nil
}

// takeSockets takes the sockets of systemd. A flag for the same address is
// refused: clients would wait at the socket, which is open already.
func (d *daemon) takeSockets() error {
	given, err := systemd{d.app.Env}.listeners()
	if err != nil {
		return err
	}
	for _, l := range given {
		flag, value, to, exposed := "--listen or --port", d.cfg.Listen, &d.listeners, exposesCredentials
		if l.name == "status" {
			flag, value, to, exposed = "--status-listen", d.cfg.StatusListen, &d.status, exposesStatus
		}
		*to = append(*to, l.Listener)
		if value != "" {
			return signer.WithHint(front.Usagef("%s: systemd has opened the socket %s already", flag, l.Addr()),
				"leave the flag out, or disable the socket unit")
		}
		if err := loopback.CheckLoopback(l); err != nil && !d.cfg.AllowRemote {
			return listenError("a socket of systemd", err, exposed)
		}
	}
	return nil
}

// What other machines get at an address that they reach.
const (
	exposesCredentials = "other machines could get credentials there, unencrypted: the instance metadata service asks for no secret"
	exposesStatus      = "other machines could read there the names of roles and the state of their credentials"
)

// listen adds a listener to those of to. exposed says what others find there.
func (d *daemon) listen(ctx context.Context, to *[]net.Listener, what, addr, exposed string) error {
	l, err := loopback.Listen(ctx, addr, d.cfg.AllowRemote)
	if err != nil {
		return listenError(what, err, exposed)
	}
	*to = append(*to, l)
	return nil
}

func listenError(what string, err error, exposed string) error {
	if errors.Is(err, loopback.ErrNotLoopback) {
		return signer.WithHint(front.Usagef("%s: %w", what, err),
			exposed+"; for this machine alone use 127.0.0.1; --allow-remote lets others in")
	}
	return signer.WithHint(fmt.Errorf("%s: %w", what, err), "choose another address or port; port 0 takes a free one")
}

func limitHops(l net.Listener, limit int) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = setHopLimit(fd, limit) }); err != nil {
		return err
	}
	return set
}
