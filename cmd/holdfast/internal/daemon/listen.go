package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// openListeners takes the sockets of systemd, if there are any, and otherwise
// those that the flags name.
func (d *daemon) openListeners(ctx context.Context) error {
	f := d.cfg
	given, err := systemd{d.app.Env}.listeners()
	if err != nil {
		return err
	}
	for _, l := range given {
		if l.name == "status" {
			d.status = append(d.status, l.Listener)
		} else {
			d.listeners = append(d.listeners, l.Listener)
		}
	}
	if len(d.listeners) == 0 {
		l, err := loopback.Listen(ctx, net.JoinHostPort(f.Address, strconv.Itoa(f.Port)), f.AllowRemote)
		if err != nil {
			return listenError("--listen", err)
		}
		d.listeners = append(d.listeners, l)
	}
	for _, setup := range f.Roles {
		if setup.Port == 0 {
			continue
		}
		l, err := loopback.Listen(ctx, net.JoinHostPort(f.Address, strconv.Itoa(setup.Port)), f.AllowRemote)
		if err != nil {
			return listenError("port of role "+setup.Name, err)
		}
		d.listeners = append(d.listeners, l)
	}
	if f.StatusListen != "" && len(d.status) == 0 {
		l, err := loopback.Listen(ctx, f.StatusListen, f.AllowRemote)
		if err != nil {
			return listenError("--status-listen", err)
		}
		d.status = append(d.status, l)
	}
	for _, l := range append(d.listeners[:len(d.listeners):len(d.listeners)], d.status...) {
		if err := loopback.CheckLoopback(l); err != nil && !f.AllowRemote {
			return listenError("a socket of systemd", err)
		}
		if err := limitHops(l, f.HopLimit); err != nil {
			return fmt.Errorf("--hop-limit: %w", err)
		}
	}
	return nil
}

func listenError(what string, err error) error {
	if errors.Is(err, loopback.ErrNotLoopback) {
		return signer.WithHint(front.Usagef("%s: %w", what, err), "who reaches it can ask for credentials; if that is meant, add --allow-remote")
	}
	return signer.WithHint(err, "choose another address or port; port 0 takes a free one")
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
