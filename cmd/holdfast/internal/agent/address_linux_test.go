package agent_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// inNamespace is set for a test that runs in a network namespace of its own.
const inNamespace = "HOLDFAST_TEST_NETWORK_NAMESPACE"

// isolate runs the test again in a user and a network namespace of their own, where it
// may change addresses. It reports whether the test is already there.
func isolate(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		if err := setLoopbackUp(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = namespaces(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		signertest.Skip(t, "netns", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// namespaces returns attributes of a process in new namespaces, as root there.
func namespaces(flags uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
}

// setLoopbackUp is "ip link set lo up".
func setLoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(request))); errno != 0 {
		return errno
	}
	return nil
}

// holdfast runs the program.
func holdfast(args ...string) (output string, err error) {
	out, err := exec.Command("holdfast", args...).CombinedOutput()
	return string(out), err
}

// hasIPv6 reports whether ::1 is on this machine.
func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

// The addresses are added once, and then the agent listens on them by default. It is not
// ready when one of them is gone.
func TestDefaultAddresses(t *testing.T) {
	if !isolate(t) {
		return
	}
	s := newScene(t, nil)
	if out, err := exec.Command("holdfast", "agent", "--certificate", s.path("cert.pem"), "--private-key", s.path("key.pem"),
		"--trust-anchor-arn", s.aws.emulator.TrustAnchorARNs()[0], "--profile-arn", s.aws.emulator.ProfileARNs()[0], "--role-arn", baseRole,
		"--pods", s.path("pods.toml"), "--node-name", nodeName, "--kubernetes-url", s.kube.URL, "--kubernetes-ca", s.path("kube-ca.pem"),
		"--kubernetes-token-file", s.path("kube-token")).CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "holdfast agent add-address") {
		t.Errorf("without the addresses: %v\n%s", err, out)
	}
	for range 2 {
		if out, err := holdfast("agent", "add-address"); err != nil || out != "" && hasIPv6() {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if out, err := exec.Command("ip", "-brief", "address").CombinedOutput(); err == nil {
		t.Logf("%s", out)
	}
	s.startAt(t)
	clitest.WaitReady(t, s.Served)
	addresses := map[string]string{"169.254.170.23": "127.0.0.1"}
	urls := "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23:2704/v1/credentials\n"
	if hasIPv6() {
		addresses["fd00:ec2::23"] = "::1"
		urls += "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://[fd00:ec2::23]:2704/v1/credentials\n"
	}
	clitest.Eventually(t, "the URLs are printed", func() bool { return strings.HasSuffix(s.Out.String(), urls) })
	token := s.kube.pod("shop", "checkout", "checkout-a")
	for address := range addresses {
		s.URL = "http://" + net.JoinHostPort(address, "2704")
		if a := s.ask(t, token); a.status != http.StatusOK {
			t.Errorf("%s: status %d: %s", s.URL, a.status, a.Message)
		}
		if v := clitest.Metric(t, s.Served, `holdfast_agent_address_present{address="`+address+`"}`); v != "1" {
			t.Errorf("%s is present: %q", address, v)
		}
	}
	if out, err := exec.Command("ip", "address", "del", "169.254.170.23/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Logf("the address was not removed: %v: %s", err, out) // ip is not installed
		return
	}
	if resp, body := clitest.Ask(t, "GET", s.Status+"/readyz"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready without the address: %s", body)
	}
}

// Without IPv6, the default address is left out, and one that was asked for is an error.
func TestNoIPv6(t *testing.T) {
	if !isolate(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0); err != nil {
		t.Logf("IPv6 stays: %v", err) // such as on a machine without it, or with /proc/sys read-only
	}
	out, err := holdfast("agent", "add-address")
	if err != nil || !hasIPv6() && !strings.Contains(out, "fd00:ec2::23 is left out") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := holdfast("agent", "add-address", "--address", "fd00:ec2::23"); (err == nil) != hasIPv6() || err != nil && !strings.Contains(out, "hint: this machine has no IPv6") {
		t.Errorf("%v\n%s", err, out)
	}
	s := newScene(t, nil)
	s.startAt(t)
	clitest.WaitReady(t, s.Served)
	if !hasIPv6() && (len(s.logLines("pods cannot use IPv6, because this machine does not have the address")) != 1 || strings.Contains(s.Out.String(), "fd00")) {
		t.Errorf("%s\n%s", s.Out, s.Log)
	}
}

// Without CAP_NET_ADMIN, the error says what is missing.
func TestAddAddressNotPermitted(t *testing.T) {
	cmd := exec.Command("holdfast", "agent", "add-address")
	cmd.SysProcAttr = namespaces(syscall.CLONE_NEWUSER) // root there has no rights in the network namespace of this machine
	out, err := cmd.CombinedOutput()
	exit := new(exec.ExitError)
	if !errors.As(err, &exit) && err != nil {
		signertest.Skip(t, "netns", err)
	}
	if err == nil || !strings.Contains(string(out), "add 169.254.170.23 to the loopback interface: operation not permitted\nhint: run the command as root") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAddAddressUsage(t *testing.T) {
	for _, address := range []string{"10.0.0.1", "169.254.170.24", "169.254.170.23/32", "fe80::1%lo", "::ffff:127.0.0.1", "x", "::"} {
		if out, err := holdfast("agent", "add-address", "--address", address); err == nil || !strings.Contains(out, "AWS clients accept") {
			t.Errorf("%s: %v\n%s", address, err, out)
		}
	}
}
