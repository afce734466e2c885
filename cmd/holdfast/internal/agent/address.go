package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer"
)

// The addresses of EKS Pod Identity, which AWS clients accept for credentials over HTTP.
// The port is free.
const (
	address4    = "169.254.170.23"
	address6    = "fd00:ec2::23"
	defaultPort = "2704"
)

// defaultAddresses are the addresses that pods use.
func defaultAddresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr(address4), netip.MustParseAddr(address6)}
}

// addAddress returns the command that adds the addresses to this machine.
func addAddress(a front.App) *cobra.Command {
	var texts []string
	cmd := &cobra.Command{
		Use:   "add-address",
		Short: "Add the addresses that pods use to the loopback interface",
		Long: `Adds ` + address4 + `/32 and ` + address6 + `/128 to the loopback interface of
this network namespace. It succeeds if they are already there. It needs the
capability CAP_NET_ADMIN, and runs once after each boot: in an init container,
or before the agent in a unit of systemd. On a machine without IPv6, it adds
only the first one.`,
		Example: `  holdfast agent add-address`,
		RunE: func(*cobra.Command, []string) error {
			return runAddAddress(a.Stderr, texts, addLoopbackAddress)
		},
	}
	front.ListVar(cmd.Flags(), &texts, "address", "`address` to add, without a prefix length; can be repeated (default: "+address4+" and "+address6+")")
	return cmd
}

// errNoFamily is the error of an address family that the kernel does not have.
var errNoFamily = errors.New("the kernel has no such address family")

// runAddAddress adds addresses with add. Only the default IPv6 address may be missing.
func runAddAddress(log io.Writer, texts []string, add func(netip.Addr) error) error {
	addresses := defaultAddresses()
	if len(texts) > 0 {
		addresses = nil
	}
	for _, text := range texts {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" || !isPodAddress(address) {
			return signer.WithHint(front.Usagef("--address %q is not an address that AWS clients accept", text), acceptedAddresses)
		}
		addresses = append(addresses, address)
	}
	for _, address := range addresses {
		err := add(address)
		if errors.Is(err, errNoFamily) && len(texts) == 0 && address.Is6() {
			fmt.Fprintf(log, "holdfast: this machine has no IPv6; %s is left out\n", address)
			continue
		}
		if errors.Is(err, errNoFamily) {
			err = signer.WithHint(err, "this machine has no IPv6, or net.ipv6.conf.lo.disable_ipv6 is 1; IPv4 alone is enough for pods with IPv4")
		}
		if err != nil {
			return fmt.Errorf("add %s to the loopback interface: %w", address, err)
		}
	}
	return nil
}

const acceptedAddresses = "AWS clients accept credentials over HTTP only from " + address4 + ", " + address6 + " and loopback addresses"

// isPodAddress reports whether AWS clients accept credentials over HTTP from an address.
//
// Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
func isPodAddress(a netip.Addr) bool {
	for _, known := range defaultAddresses() {
		if a == known {
			return true
		}
	}
	return a.IsLoopback() && !a.Is4In6() // no client writes 127.0.0.1 as an IPv6 address
}

// isPresent reports whether this machine has an address.
func isPresent(address netip.Addr) bool {
	if address.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == address {
				return true
			}
		}
	}
	return false
}
