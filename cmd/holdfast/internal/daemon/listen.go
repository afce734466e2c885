package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/systemd"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// The default address of a daemon. aws_signing_helper uses the same default
// port.
const (
	DefaultHost   = "127.0.0.1"
	DefaultPort   = 9911
	DefaultListen = "127.0.0.1:9911"
)

// openListeners uses the sockets from systemd or opens the addresses that the
// flags specify. It sets the hop limit of all listeners.
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
		if err := d.listen(ctx, &d.status, "--status-listen", d.cfg.StatusListen, service.ExposesStatus); err != nil {
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

// takeSockets uses the sockets from systemd. It refuses a flag for the same
// purpose: clients would connect to the socket, which systemd has already
// opened, and wait forever.
func (d *daemon) takeSockets() error {
	given, err := systemd.Manager{Env: d.app.Env}.Listeners()
	if err != nil {
		return err
	}
	for _, l := range given {
		flag, value, to, exposed := "--listen or --port", d.cfg.Listen, &d.listeners, exposesCredentials
		if l.Name == "status" {
			flag, value, to, exposed = "--status-listen", d.cfg.StatusListen, &d.status, service.ExposesStatus
		}
		*to = append(*to, l.Listener)
		if value != "" {
			return signer.WithHint(front.Usagef("%s: systemd has already opened the socket %s", flag, l.Addr()),
				"remove the flag or disable the systemd socket unit")
		}
		if err := loopback.CheckLoopback(l); err != nil && !d.cfg.AllowRemote {
			return service.ListenError("socket from systemd", err, exposed)
		}
	}
	return nil
}

// exposesCredentials is what --allow-remote permits other machines to do.
const exposesCredentials = "obtain credentials: the instance metadata service requires no secret, and nothing is encrypted"

// listen opens an address and appends the listener to *to.
func (d *daemon) listen(ctx context.Context, to *[]net.Listener, what, addr, exposed string) error {
	l, err := service.Listen(ctx, what, addr, d.cfg.AllowRemote, exposed)
	if err != nil {
		return err
	}
	*to = append(*to, l)
	return nil
}

// limitHops sets the IP hop limit of responses to clients of l.
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
