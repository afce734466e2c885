package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkListen checks a value of --listen.
func checkListen(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return signer.WithHint(front.Usagef("--listen: %w", err), "use HOST:PORT, such as "+address4+":"+defaultPort+" or ["+address6+"]:"+defaultPort)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return front.Usagef("--listen %s: the port is not in the range 0 to 65535", text)
	}
	if a, err := netip.ParseAddr(host); err != nil || !isPodAddress(a) {
		return signer.WithHint(front.Usagef("--listen %s: pods cannot use this address", text), acceptedAddresses)
	}
	return nil
}

// listenForPods opens the addresses of --listen, or the default ones.
func (g *agent) listenForPods(ctx context.Context) error {
	for _, addr := range g.cfg.listen {
		l, err := loopback.Listen(ctx, addr, true)
		if err != nil {
			return explainListen(err)
		}
		g.listeners = append(g.listeners, l)
	}
	if len(g.listeners) > 0 {
		return nil
	}
	for _, a := range defaultAddresses() {
		addr := net.JoinHostPort(a.String(), defaultPort)
		l, err := loopback.Listen(ctx, addr, true)
		if err != nil && a.Is6() && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			g.cfg.log.Info("pods cannot use IPv6, because this machine does not have the address", "address", addr, "error", err)
			continue
		}
		if err != nil {
			return explainListen(err)
		}
		g.listeners = append(g.listeners, l)
	}
	return nil
}

func explainListen(err error) error {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return signer.WithHint(err, "run as root, once after each boot: holdfast agent add-address")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return signer.WithHint(err, "end the other agent on this node, or choose another port with --listen")
	}
	return err
}

// addresses returns the addresses on which the agent listens.
func (g *agent) addresses() (all []netip.Addr) {
	for _, l := range g.listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			all = append(all, tcp.AddrPort().Addr().Unmap())
		}
	}
	return all
}
