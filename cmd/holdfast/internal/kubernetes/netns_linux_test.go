package kubernetes

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A netns is a network namespace with a loopback interface.
type netns struct{ name string }

// newNetns makes a network namespace that is removed at the end of the test. Only root can
// make one.
func newNetns(t *testing.T, name string) netns {
	t.Helper()
	signertest.Require(t, "netns", "ip")
	ns := netns{fmt.Sprintf("holdfast-%s-%d", name, os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", ns.name).CombinedOutput(); err != nil {
		signertest.Skip(t, "netns", fmt.Errorf("ip netns add: %w: %s", err, out))
	}
	t.Cleanup(func() { ip(t, "netns", "delete", ns.name) })
	ns.ip(t, "link", "set", "lo", "up")
	return ns
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// ip runs ip in the namespace.
func (ns netns) ip(t *testing.T, args ...string) {
	t.Helper()
	ip(t, append([]string{"-netns", ns.name}, args...)...)
}

// connect connects a pod to its node, as network plugins do: by a pair of interfaces, with
// the node as router.
func (ns netns) connect(t *testing.T, pod netns) {
	t.Helper()
	ns.ip(t, "link", "add", "pod", "type", "veth", "peer", "name", "eth0", "netns", pod.name)
	for _, end := range []struct {
		ns            netns
		link, v4, v6  string
		gateways      []string
		gatewayFamily []string
	}{
		{ns, "pod", "10.77.0.1/24", "fd77::1/64", nil, nil},
		{pod, "eth0", "10.77.0.2/24", "fd77::2/64", []string{"10.77.0.1", "fd77::1"}, []string{"-4", "-6"}},
	} {
		end.ns.ip(t, "address", "add", end.v4, "dev", end.link)
		end.ns.ip(t, "address", "add", end.v6, "dev", end.link, "nodad")
		end.ns.ip(t, "link", "set", end.link, "up")
		for i, gateway := range end.gateways {
			end.ns.ip(t, end.gatewayFamily[i], "route", "add", "default", "via", gateway)
		}
	}
}

// command returns a command that runs in the namespace.
func (ns netns) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns.name}, args...)...)
}

// in calls f in a thread that is in the namespace. Sockets that f opens stay there. The
// thread returns, because servers that it has started would end with it (PR_SET_PDEATHSIG).
func (ns netns) in(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var files [2]*os.File
	for i, name := range []string{"/proc/thread-self/ns/net", filepath.Join("/run/netns", ns.name)} {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		files[i] = file
	}
	if err := unix.Setns(int(files[1].Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	defer func() {
		if err := unix.Setns(int(files[0].Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // all that this thread does later would be in the wrong namespace
		}
	}()
	return f()
}

// relay accepts connections to a port of 127.0.0.1 in the namespace, and connects them to the
// same port of this machine, until stop is called or the test ends.
func (ns netns) relay(t *testing.T, port int) (stop func()) {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var listener net.Listener
	if err := ns.in(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	stop = func() {
		cancel()
		listener.Close()
		connections.Wait()
	}
	t.Cleanup(stop)
	connections.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { pipe(ctx, from, address) })
		}
	})
	return stop
}

// pipe copies both directions until one of them or ctx ends.
func pipe(ctx context.Context, from net.Conn, address string) {
	defer from.Close()
	to, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { from.Close(); to.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, from)
		to.Close()
		from.Close()
	}()
	_, _ = io.Copy(from, to)
	to.Close()
	from.Close()
	<-done
}

// client returns a client whose connections begin in the namespace.
func (ns netns) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = ns.in(func() error { // an address is dialed by the goroutine that asks
				c, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return c, err
		},
	}}
}
