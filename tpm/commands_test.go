package tpm

import (
	"crypto"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

// TestCommands pins the commands of each operation, because a command takes
// milliseconds in a hardware TPM.
func TestCommands(t *testing.T) {
	emulator := newTPM(t)
	makePersistentParent(t, emulator, 0x81000001, "")
	makePersistentParent(t, emulator, 0x81000002, parentPassword)
	device := CreateConfig{Device: emulator.Path}
	with := func(change func(*CreateConfig)) []byte {
		c := device
		change(&c)
		return makeKey(t, c)
	}
	plain := makeKey(t, device)
	secret := with(func(c *CreateConfig) { c.PIN = fixedPIN(keyPassword) })
	// Before the first signature the TPM performs a self-test. The first
	// command with a protected password must be sent twice, because the TPM
	// first records in nonvolatile memory that such a password was used.
	warm := mustOpen(t, Config{PEM: secret, Device: emulator.Path, PIN: fixedPIN(keyPassword)}, dial)
	mustSign(t, warm)
	if err := warm.Close(); err != nil {
		t.Fatal(err)
	}
	makePersistent(t, emulator, 0x81010001, plain)
	newMaker(t, emulator).persistent(0x81010003, signingTemplate(keystore.P256), "")
	makePersistent(t, emulator, 0x81010002, secret)
	pcrs := []PCRs{{crypto.SHA256, []uint{7}}}
	const flush = "FlushContext"

	for _, test := range []struct {
		name               string
		cfg                Config
		open, sign, finish []string
		guard              []string // before the first Sign
	}{
		{
			"file", Config{PEM: plain},
			[]string{"CreatePrimary", "Load", flush},
			[]string{"Sign"},
			[]string{flush},
			nil,
		},
		{
			"file that says it has no password, and a source", Config{PEM: plain, PIN: fixedPIN("")},
			[]string{"CreatePrimary", "Load", flush},
			[]string{"Sign"},
			[]string{flush},
			nil,
		},
		{
			"file with a password", Config{PEM: secret, PIN: fixedPIN(keyPassword)},
			[]string{"GetCapability", "CreatePrimary", "Load", "StartAuthSession", flush},
			[]string{"Sign"},
			[]string{flush, flush},
			[]string{"GetCapability"},
		},
		{
			"file under a persistent parent", Config{PEM: with(func(c *CreateConfig) { c.Parent = 0x81000001 })},
			[]string{"ReadPublic", "Load"},
			[]string{"Sign"},
			[]string{flush},
			nil,
		},
		{
			"file with a password under a persistent parent", Config{PEM: with(func(c *CreateConfig) { c.Parent, c.PIN = 0x81000001, fixedPIN(keyPassword) }), PIN: fixedPIN(keyPassword)},
			[]string{"GetCapability", "ReadPublic", "Load", "StartAuthSession"},
			[]string{"Sign"},
			[]string{flush, flush},
			[]string{"GetCapability"},
		},
		{
			"file under a parent with a password", Config{PEM: with(func(c *CreateConfig) { c.Parent, c.ParentPIN = 0x81000002, fixedPIN(parentPassword) }), ParentPIN: fixedPIN(parentPassword)},
			// The TPM is closed during the prompt.
			[]string{"ReadPublic", "ReadPublic", "StartAuthSession", "Load"},
			[]string{"Sign"},
			[]string{flush},
			nil,
		},
		{
			"file bound to PCRs", Config{PEM: with(func(c *CreateConfig) { c.PCRs = pcrs })},
			[]string{"CreatePrimary", "Load", "StartAuthSession", flush},
			[]string{"PolicyPCR", "Sign"},
			[]string{flush, flush},
			nil,
		},
		{
			"file bound to PCRs and a password", Config{PEM: with(func(c *CreateConfig) { c.PCRs, c.PIN = pcrs, fixedPIN(keyPassword) }), PIN: fixedPIN(keyPassword)},
			[]string{"GetCapability", "CreatePrimary", "Load", "StartAuthSession", flush},
			[]string{"PolicyPCR", "PolicyAuthValue", "Sign"},
			[]string{flush, flush},
			[]string{"GetCapability"},
		},
		{
			"handle", Config{Handle: 0x81010001},
			[]string{"ReadPublic"},
			[]string{"Sign"},
			nil,
			nil,
		},
		{
			"handle of a key without a password that the TPM would count", Config{Handle: 0x81010003},
			[]string{"ReadPublic"},
			[]string{"Sign"},
			nil,
			[]string{"GetCapability"},
		},
		{
			"handle with a password", Config{Handle: 0x81010002, PIN: fixedPIN(keyPassword)},
			// The PIN source may be a person. Therefore the TPM is closed
			// during the prompt, and the name of the key is read again.
			[]string{"ReadPublic", "GetCapability", "ReadPublic", "CreatePrimary", "StartAuthSession", flush},
			[]string{"Sign"},
			[]string{flush},
			[]string{"GetCapability"},
		},
	} {
		t.Run(test.name, inBubble(func(t *testing.T) {
			b := &bus{}
			test.cfg.Device = emulator.Path
			k := mustOpen(t, test.cfg, b.dial)
			check := func(what string, want []string) {
				t.Helper()
				if got := b.commands(); !slices.Equal(got, want) {
					t.Errorf("%s sent %q, want %q", what, got, want)
				}
			}
			check("Open", test.open)
			mustSign(t, k)
			check("the first Sign", slices.Concat(test.guard, test.sign))
			mustSign(t, k)
			check("the second Sign", test.sign)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			check("Close", test.finish)
			if b.opens != b.closes {
				t.Errorf("%d devices opened, %d closed", b.opens, b.closes)
			}
			checkEmpty(t, emulator)
		}))
	}
}
