package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/signer"
)

// netlinkTimeout limits the wait for the response of the kernel, in seconds. It answers
// at once.
const netlinkTimeout = 5

// addLoopbackAddress adds an address to the loopback interface with one message of
// rtnetlink(7). It succeeds if the address is already there, and fails with errNoFamily
// if the kernel does not have its address family.
func addLoopbackAddress(address netip.Addr) error {
	index, err := loopbackIndex()
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: netlinkTimeout}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Sendto(fd, newAddress(address, index), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	code, err := acknowledged(answer[:n])
	if err != nil {
		return err
	}
	switch {
	case code == 0, code == unix.EEXIST:
		return nil
	case code == unix.EPERM:
		return signer.WithHint(code, "run the command as root, or with the capability NET_ADMIN")
	case address.Is6() && (code == unix.EOPNOTSUPP || code == unix.EAFNOSUPPORT || code == unix.EACCES):
		// EOPNOTSUPP: there is no module ipv6. EACCES: net.ipv6.conf.lo.disable_ipv6 is 1.
		return fmt.Errorf("%w: %w", errNoFamily, code)
	}
	return code
}

// loopbackIndex returns the index of the loopback interface.
func loopbackIndex() (int, error) {
	all, err := net.Interfaces()
	if err != nil {
		return 0, err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Index, nil
		}
	}
	return 0, errors.New("there is no loopback interface")
}

// newAddress returns a message RTM_NEWADDR with one address of the scope of the host.
func newAddress(address netip.Addr, index int) []byte {
	family := byte(unix.AF_INET)
	if address.Is6() {
		family = unix.AF_INET6
	}
	const sequence = 1
	body := []byte{family, byte(address.BitLen()), 0, unix.RT_SCOPE_HOST} // struct ifaddrmsg
	body = binary.NativeEndian.AppendUint32(body, uint32(index))
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} { // struct rtattr
		value := address.AsSlice() // of 4 or 16 bytes, so that no padding follows
		body = binary.NativeEndian.AppendUint16(body, uint16(unix.SizeofRtAttr+len(value)))
		body = binary.NativeEndian.AppendUint16(body, kind)
		body = append(body, value...)
	}
	header := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body))) // struct nlmsghdr
	header = binary.NativeEndian.AppendUint16(header, unix.RTM_NEWADDR)
	header = binary.NativeEndian.AppendUint16(header, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	header = binary.NativeEndian.AppendUint32(header, sequence)
	header = binary.NativeEndian.AppendUint32(header, 0) // the kernel sets the port ID
	return append(header, body...)
}

// acknowledged returns the error code in the response of the kernel, NLMSG_ERROR; 0:
// none.
func acknowledged(message []byte) (unix.Errno, error) {
	const typeOffset = 4
	end := unix.SizeofNlMsghdr + 4
	if len(message) < end || binary.NativeEndian.Uint16(message[typeOffset:]) != unix.NLMSG_ERROR {
		return 0, errors.New("the kernel sent an unexpected response")
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(message[unix.SizeofNlMsghdr:end]))), nil
}
