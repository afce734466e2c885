package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A bus is between a key and its TPM. It records the commands and responses,
// and can change them. It is safe for concurrent use.
type bus struct {
	next    dialer // nil: dial
	managed bool   // simulate a resource manager

	// intercept, if not nil, handles the n-th command; it can call send to
	// send the command to the TPM. n counts from 1 over all connections.
	intercept func(n int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error)

	mu            sync.Mutex
	opens, closes int
	sent          [][]byte // commands
	traffic       [][]byte // commands and responses
}

func (b *bus) dial(ctx context.Context, path string) (*device, error) {
	next := b.next
	if next == nil {
		next = dial
	}
	d, err := next(ctx, path)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opens++
	return &device{TPM: busWire{b, d.TPM}, managed: b.managed, close: func() error {
		b.mu.Lock()
		b.closes++
		b.mu.Unlock()
		if b.managed {
			flushAll(d)
		}
		return d.close()
	}}, nil
}

type busWire struct {
	bus *bus
	transport.TPM
}

func (w busWire) Send(command []byte) ([]byte, error) {
	w.bus.mu.Lock()
	w.bus.sent = append(w.bus.sent, bytes.Clone(command))
	w.bus.traffic = append(w.bus.traffic, bytes.Clone(command))
	n := len(w.bus.sent)
	w.bus.mu.Unlock()
	var response []byte
	var err error
	if w.bus.intercept != nil {
		response, err = w.bus.intercept(n, command, w.TPM.Send)
	} else {
		response, err = w.TPM.Send(command)
	}
	w.bus.mu.Lock()
	w.bus.traffic = append(w.bus.traffic, bytes.Clone(response))
	w.bus.mu.Unlock()
	return response, err
}

// commands returns the names of the commands since the last call.
func (b *bus) commands() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for _, c := range b.sent {
		names = append(names, commandName(c))
	}
	b.sent = nil
	return names
}

func codeOf(command []byte) tpm2.TPMCC {
	return tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
}

var commandNames = map[tpm2.TPMCC]string{
	tpm2.TPMCCCreatePrimary:    "CreatePrimary",
	tpm2.TPMCCLoad:             "Load",
	tpm2.TPMCCFlushContext:     "FlushContext",
	tpm2.TPMCCSign:             "Sign",
	tpm2.TPMCCStartAuthSession: "StartAuthSession",
	tpm2.TPMCCGetCapability:    "GetCapability",
	tpm2.TPMCCReadPublic:       "ReadPublic",
	tpm2.TPMCCPolicyPCR:        "PolicyPCR",
	tpm2.TPMCCPolicyAuthValue:  "PolicyAuthValue",
	tpm2.TPMCCUnseal:           "Unseal",
	tpm2.TPMCCCreate:           "Create",
	tpm2.TPMCCStartup:          "Startup",
	tpm2.TPMCCEvictControl:     "EvictControl",
}

func commandName(command []byte) string {
	if n, ok := commandNames[codeOf(command)]; ok {
		return n
	}
	return fmt.Sprintf("0x%03x", uint32(codeOf(command)))
}

// Secrets of the tests.
const (
	keyPassword    = "sesame-of-the-key"
	parentPassword = "sesame-of-parent"
	ownerPassword  = "sesame-of-the-owner"
)

// fixedPIN returns a PINFunc that is not interactive.
func fixedPIN(value string) keystore.PINFunc {
	return func(_ context.Context, p keystore.Prompt) ([]byte, error) { return []byte(value), p.RefuseLastTry() }
}

// openTPM opens a connection for commands of a test.
func openTPM(tb testing.TB, emulator *tpmtest.TPM) *device {
	tb.Helper()
	d, err := dialer(dial).open(tb.Context(), emulator.Path)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// makeKey creates a P-256 key and returns its key file.
func makeKey(tb testing.TB, cfg CreateConfig) []byte {
	tb.Helper()
	pem, err := Create(tb.Context(), cfg, keystore.P256)
	if err != nil {
		tb.Fatal(err)
	}
	return pem
}

// makePersistent makes the key in a key file persistent.
func makePersistent(tb testing.TB, emulator *tpmtest.TPM, h Handle, pem []byte) {
	tb.Helper()
	if err := persist(tb.Context(), Config{Handle: h}, CreateConfig{Device: emulator.Path}, pem, dial); err != nil {
		tb.Fatal(err)
	}
}

// makePersistentParent creates a persistent storage key.
func makePersistentParent(tb testing.TB, emulator *tpmtest.TPM, h tpm2.TPMHandle, password string) {
	tb.Helper()
	l := &loadedObject{device: openTPM(tb, emulator)}
	defer l.close()
	p, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InSensitive:   tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}},
		InPublic:      tpm2.New2B(primaryTemplate(false)),
	}.Execute(l)
	if err != nil {
		tb.Fatal(err)
	}
	l.toFlush = append(l.toFlush, p.ObjectHandle)
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: p.ObjectHandle, Name: p.Name},
		PersistentHandle: h,
	}.Execute(l)
	if err != nil {
		tb.Fatal(err)
	}
}

// lockoutCommand sends a command with the authorization of the lockout
// hierarchy, which has no password in these tests.
func lockoutCommand(tb testing.TB, emulator *tpmtest.TPM, code tpm2.TPMCC, parameters ...uint32) {
	tb.Helper()
	c := []byte{0x80, 0x02, 0, 0, 0, 0}
	c = binary.BigEndian.AppendUint32(c, uint32(code))
	c = binary.BigEndian.AppendUint32(c, uint32(tpm2.TPMRHLockout))
	c = binary.BigEndian.AppendUint32(c, 9)
	c = binary.BigEndian.AppendUint32(c, uint32(tpm2.TPMRSPW))
	c = append(c, 0, 0, 0, 0, 0)
	for _, p := range parameters {
		c = binary.BigEndian.AppendUint32(c, p)
	}
	binary.BigEndian.PutUint32(c[2:], uint32(len(c)))
	d := openTPM(tb, emulator)
	defer d.close()
	response, err := d.Send(c)
	if err != nil {
		tb.Fatal(err)
	}
	if rc := binary.BigEndian.Uint32(response[6:]); rc != 0 {
		tb.Fatalf("command 0x%03x: TPM_RC 0x%03x", uint32(code), rc)
	}
}

func resetLockout(tb testing.TB, emulator *tpmtest.TPM) {
	tb.Helper()
	lockoutCommand(tb, emulator, 0x139) // TPM2_DictionaryAttackLockReset
}

// setMaxTries sets the number of incorrect passwords that lock the TPM.
func setMaxTries(tb testing.TB, emulator *tpmtest.TPM, tries uint32) {
	tb.Helper()
	lockoutCommand(tb, emulator, 0x13a, tries, 1000, 1000) // TPM2_DictionaryAttackParameters
}

// triesUsed returns the number of incorrect passwords that the TPM counted.
func triesUsed(tb testing.TB, emulator *tpmtest.TPM) uint32 {
	tb.Helper()
	d := openTPM(tb, emulator)
	defer d.close()
	l, err := readLockout(d)
	if err != nil {
		tb.Fatal(err)
	}
	return l.tries
}

// checkEmpty fails the test if objects or sessions are left in the TPM.
func checkEmpty(tb testing.TB, emulator *tpmtest.TPM) {
	tb.Helper()
	d := openTPM(tb, emulator)
	defer d.close()
	if left := loadedHandles(tb, d); len(left) > 0 {
		tb.Errorf("left in the TPM: %08x", left)
	}
}

func loadedHandles(tb testing.TB, d *device) (left []tpm2.TPMHandle) {
	tb.Helper()
	for _, first := range []tpm2.TPMHandle{0x80000000, 0x02000000, 0x03000000} {
		found, err := handles(d, first)
		if err != nil {
			tb.Fatal(err)
		}
		left = append(left, found...)
	}
	return left
}

// trySign signs message and verifies the signature.
func trySign(k *Key, message string) error {
	digest := sha256.Sum256([]byte(message))
	sig, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return verify(k.Public(), digest[:], sig)
}

func mustSign(tb testing.TB, k *Key) {
	tb.Helper()
	if err := trySign(k, tb.Name()); err != nil {
		tb.Fatal(err)
	}
}

func mustOpen(tb testing.TB, cfg Config, dial dialer) *Key {
	tb.Helper()
	k, err := open(tb.Context(), cfg, dial)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = k.Close() })
	return k
}

// inBubble runs a test in a synctest bubble, where the clock is independent of
// the speed of the machine.
func inBubble(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

func count(names []string, name string) int {
	n := 0
	for _, s := range names {
		if s == name {
			n++
		}
	}
	return n
}

func wantUnavailable(tb testing.TB, err error) {
	tb.Helper()
	if !errors.Is(err, signer.ErrUnavailable) {
		tb.Fatalf("%v, want %v", err, signer.ErrUnavailable)
	}
}

// A logRecorder is a slog.Handler that records. It is safe for concurrent use.
type logRecorder struct {
	mu      sync.Mutex
	records []slog.Record
}

func (l *logRecorder) logger() *slog.Logger { return slog.New(l) }

func (l *logRecorder) Enabled(context.Context, slog.Level) bool { return true }

func (l *logRecorder) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return nil
}

func (l *logRecorder) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logRecorder) WithGroup(string) slog.Handler      { return l }

func (l *logRecorder) warnings() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.records {
		if r.Level >= slog.LevelWarn {
			n++
		}
	}
	return n
}
