//go:build linux && cgo

package interop

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestPIV signs with a simulated PIV card through OpenSC and pcscd, as with a
// YubiKey.
func TestPIV(t *testing.T) {
	daemonPath := program(t, "pcscd", "pcscd")
	opensc := library(t, "opensc", "/usr/lib/*/opensc-pkcs11.so", "/usr/lib64/opensc-pkcs11.so", "/usr/lib/opensc-pkcs11.so")
	driver := library(t, "vpcd", filepath.Join(pcscDrivers, "serial/libifdvpcd.so"))
	if !inMountNamespace(t, "pcscd") {
		return
	}
	s := pivTest{reader: startReader(t, daemonPath, driver), module: opensc, ca: signertest.NewCA(t, "root").Intermediate(t, "intermediate")}
	pkcs11test.UseHelper(t)
	for name, isolation := range isolations {
		s.isolation = isolation
		t.Run(name+"/Contract", s.contract)
		t.Run(name+"/EjectAndInsert", s.ejectAndInsert)
		t.Run(name+"/WrongPIN", s.wrongPIN)
		t.Run(name+"/LockedPIN", s.lockedPIN)
	}
}

type pivTest struct {
	reader    *pkcs11test.VirtualReader
	module    string
	isolation string
	ca        *signertest.CA
}

const pcscDrivers = "/usr/lib/pcsc/drivers"

// startReader starts pcscd with a virtual reader. It does not use the readers,
// the daemon and the configuration of the host.
func startReader(t *testing.T, pcscd, driver string) *pkcs11test.VirtualReader {
	t.Helper()
	dir := t.TempDir()
	code, err := os.ReadFile(driver)
	if err != nil {
		t.Fatal(err)
	}
	driver = filepath.Join(dir, "vpcd.so")
	writeFile(t, driver, string(code))
	none := filepath.Join(dir, "none")
	if err := os.Mkdir(none, 0o700); err != nil {
		t.Fatal(err)
	}
	bindMount(t, pcscDrivers, none)
	if err := syscall.Mount("none", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	loopbackUp(t)
	const port = 35963 // is free in the new network namespace
	conf := filepath.Join(dir, "readers")
	writeFile(t, filepath.Join(conf, "vpcd"), fmt.Sprintf(
		"FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID 0x%X\n", port, driver, port))
	opensc := filepath.Join(dir, "opensc.conf")
	writeFile(t, opensc, "app default {\n}\n")
	t.Setenv("OPENSC_CONF", opensc)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{"--foreground", "--config", conf}
	// Version 2 asks polkit on the host whether a client may use cards.
	const noPolkit = "--disable-polkit"
	if strings.Contains(command(t, pcscd, "--help"), noPolkit) {
		args = append(args, noPolkit)
	}
	daemon(t, exec.CommandContext(t.Context(), pcscd, args...), func() error {
		if _, err := os.Stat("/run/pcscd/pcscd.comm"); err != nil {
			return err
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return &pkcs11test.VirtualReader{Address: address}
}

// loopbackUp enables the loopback interface in a new network namespace.
func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// insert inserts a new card with keys and waits until the module detects it. It
// ejects the card at the end of the test.
func (s pivTest) insert(t *testing.T, kinds map[pkcs11test.PIVSlot]string) *pkcs11test.PIVCard {
	t.Helper()
	keys := make(map[pkcs11test.PIVSlot]pkcs11test.PIVKey)
	for slot, kind := range kinds {
		key := signertest.NewKey(t, kind)
		keys[slot] = pkcs11test.PIVKey{Key: key, Certificate: s.ca.Issue(t, key, nil)}
	}
	card := pkcs11test.NewPIVCard(keys)
	if err := s.reader.Insert(card); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.reader.Eject)
	tok := token{uri: pkcs11.URI{ModulePath: s.module}}
	eventually(t, time.Minute, func() error {
		for slot := range kinds {
			if _, err := backend.Certificates(t.Context(), tok.ref("", slot.ID()), withPIN("")); err != nil {
				return err
			}
		}
		return nil
	})
	return card
}

// eventually repeats f until it returns nil. The test fails after limit.
func eventually(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	timeout := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-timeout:
			t.Fatalf("after %v: %v", limit, err)
		case <-tick.C:
		}
	}
}

func (s pivTest) token(pin string) token {
	return token{uri: pkcs11.URI{ModulePath: s.module, Isolation: s.isolation}, pin: pin}
}

func (s pivTest) contract(t *testing.T) {
	for _, kinds := range []map[pkcs11test.PIVSlot]string{
		{pkcs11test.PIVAuthentication: "p256", pkcs11test.PIVDigitalSignature: "p256", pkcs11test.PIVCardAuthentication: "p256"},
		{pkcs11test.PIVAuthentication: "rsa2048", pkcs11test.PIVDigitalSignature: "rsa2048", pkcs11test.PIVKeyManagement: "p384"},
	} {
		card := s.insert(t, kinds)
		tok := s.token(pkcs11test.PIVPIN)
		for _, slot := range []pkcs11test.PIVSlot{pkcs11test.PIVAuthentication, pkcs11test.PIVDigitalSignature} {
			t.Run(fmt.Sprintf("%s-%x", kinds[slot], byte(slot)), func(t *testing.T) {
				tok.checkClaims(t, tok.ref("", slot.ID())) // although the key comes from outside
				if n := card.Signatures(slot); n != 0 {
					t.Errorf("the card made %d signatures for the claims", n)
				}
				signertest.Run(t, func(t *testing.T) signer.Signer { return tok.open(t, tok.ref("", slot.ID()), 1) })
				if card.Signatures(slot) == 0 {
					t.Error("the card made no signature")
				}
			})
		}
		s.reader.Eject()
	}
}

// signMessage signs a message and verifies the signature.
func signMessage(s signer.Signer, message string) error {
	digest := sha256.Sum256([]byte(message))
	sig, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return verify(s.Public(), digest[:], sig)
}

// cardPresent matches a reader with a card in the output of opensc-tool.
var cardPresent = regexp.MustCompile(`(?m)^\d+ +Yes `)

func (s pivTest) ejectAndInsert(t *testing.T) {
	slots := []pkcs11test.PIVSlot{pkcs11test.PIVAuthentication, pkcs11test.PIVDigitalSignature}
	card := s.insert(t, map[pkcs11test.PIVSlot]string{slots[0]: "p256", slots[1]: "p256"})
	tok := s.token(pkcs11test.PIVPIN)
	var keys []signer.Signer // two keys on one card, as in a process with two roles
	for _, slot := range slots {
		key := tok.open(t, tok.ref("", slot.ID()), 1)
		defer func() {
			if err := key.Close(); err != nil {
				t.Error(err)
			}
		}()
		keys = append(keys, key)
	}
	const goroutines, rounds = 4, 3
	var signed, failed [goroutines]atomic.Int64
	// OpenSC 0.23 never releases its own lock if a command fails before
	// pcscd has reported the removal of the card (OpenSC issue 2707).
	// Therefore this test removes the card between two signatures and waits
	// for pcscd.
	var operation sync.RWMutex
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				operation.RLock()
				err := signMessage(keys[g%len(keys)], fmt.Sprintf("message %d of goroutine %d", i, g))
				operation.RUnlock()
				switch {
				case err == nil:
					signed[g].Add(1)
				case errors.Is(err, signer.ErrUnavailable):
					failed[g].Add(1)
				default:
					t.Errorf("while the card is removed and inserted: %v", err)
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	all := func(counts *[goroutines]atomic.Int64) {
		t.Helper()
		var before [goroutines]int64
		for g := range counts {
			before[g] = counts[g].Load()
		}
		eventually(t, time.Minute, func() error {
			for g := range counts {
				if counts[g].Load() < before[g]+3 {
					return fmt.Errorf("goroutine %d: %d", g, counts[g].Load()-before[g])
				}
			}
			return nil
		})
	}
	for range rounds {
		all(&signed)
		operation.Lock()
		s.reader.Eject()
		eventually(t, time.Minute, func() error {
			if list := command(t, "opensc-tool", "--list-readers"); cardPresent.MatchString(list) {
				return errors.New("pcscd has not detected the removal")
			}
			return nil
		})
		operation.Unlock()
		all(&failed)
		if err := s.reader.Insert(card); err != nil {
			t.Fatal(err)
		}
		all(&signed)
	}
	if n := card.Wrong(); n != 0 {
		t.Errorf("the card received %d incorrect PINs", n)
	}
}

func (s pivTest) wrongPIN(t *testing.T) {
	for _, slot := range []pkcs11test.PIVSlot{pkcs11test.PIVAuthentication, pkcs11test.PIVDigitalSignature} {
		card := s.insert(t, map[pkcs11test.PIVSlot]string{slot: "p256"})
		tok := s.token("999999")
		if _, err := backend.Open(t.Context(), tok.ref("", slot.ID()), tok.call()); !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("%x: error %v, want ErrPINIncorrect", byte(slot), err)
		}
		if card.Wrong() != 1 || card.Tries() != 2 {
			t.Errorf("%x: the card received %d incorrect PINs and has %d tries left, want 1 and 2", byte(slot), card.Wrong(), card.Tries())
		}
		// The correct PIN resets the counter.
		tok.pin = pkcs11test.PIVPIN
		key := tok.open(t, tok.ref("", slot.ID()), 1)
		if err := signMessage(key, "message"); err != nil {
			t.Errorf("%x: with the correct PIN: %v", byte(slot), err)
		}
		if err := key.Close(); err != nil {
			t.Error(err)
		}
		if card.Wrong() != 1 || card.Tries() != 3 {
			t.Errorf("%x: the card received %d incorrect PINs and has %d tries left, want 1 and 3", byte(slot), card.Wrong(), card.Tries())
		}
		s.reader.Eject()
	}
}

func (s pivTest) lockedPIN(t *testing.T) {
	slot := pkcs11test.PIVAuthentication
	card := s.insert(t, map[pkcs11test.PIVSlot]string{slot: "p256"})
	tok := s.token("999999")
	for n := card.Tries(); n > 0; n-- {
		tok.pin = fmt.Sprint(999990 + n) // the same one would not be sent again
		if _, err := backend.Open(t.Context(), tok.ref("", slot.ID()), tok.call()); !errors.Is(err, signer.ErrPINIncorrect) && n > 1 {
			t.Errorf("with %d tries: error %v, want ErrPINIncorrect", n, err)
		}
	}
	if card.Tries() != 0 {
		t.Fatalf("the card has %d tries left", card.Tries())
	}
	tok.pin = pkcs11test.PIVPIN
	if _, err := backend.Open(t.Context(), tok.ref("", slot.ID()), tok.call()); !errors.Is(err, signer.ErrPINLocked) {
		t.Errorf("locked: error %v, want ErrPINLocked", err)
	}
	if n := card.Wrong(); n != 3 {
		t.Errorf("the card received %d incorrect PINs, want 3", n)
	}
	// Certificates can still be read.
	if _, err := backend.Certificates(t.Context(), tok.ref("", slot.ID()), withPIN("")); err != nil {
		t.Errorf("certificates of a locked card: %v", err)
	}
}
