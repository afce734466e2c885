//go:build cgo

package pkcs11_test

import (
	"crypto"
	"crypto/sha256"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
)

// BenchmarkColdSteps measures everything from loading the module to one
// signature and finalizing the module. It alternates between the necessary
// Cryptoki calls, step by step, and Open, Sign and Close. It reports
// microseconds, and the time of the latter divided by the sum of the former.
func BenchmarkColdSteps(b *testing.B) {
	hsm := softHSM(b)
	token := hsm.Token(b)
	r := ref(b, token, "object=cold")
	made, err := pkcs11.Backend{}.Generate(b.Context(), r, keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
	if err != nil {
		b.Fatal(err)
	}
	if err := made.Close(); err != nil {
		b.Fatal(err)
	}
	u, err := pkcs11.ParseURI(token)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	steps := []string{"load", "initialize", "slots", "login", "find", "sign", "finalize"}
	took := make(map[string]time.Duration)
	var whole time.Duration
	for b.Loop() {
		last := time.Now()
		lap := func(step string, err error) {
			if err != nil {
				b.Fatalf("%s: %v", step, err)
			}
			now := time.Now()
			took[step] += now.Sub(last)
			last = now
		}
		ctx := p11.New(hsm.Module)
		lap("load", nil)
		lap("initialize", ctx.Initialize())
		slot, err := findSlot(ctx, u.Token)
		lap("slots", err)
		s, err := ctx.OpenSession(slot, p11.CKF_SERIAL_SESSION)
		if err == nil {
			err = ctx.Login(s, p11.CKU_USER, pkcs11test.PIN)
		}
		lap("login", err)
		key, err := findPrivate(ctx, s, "cold")
		lap("find", err)
		err = ctx.SignInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_ECDSA, nil)}, key)
		if err == nil {
			_, err = ctx.Sign(s, digest[:])
		}
		lap("sign", err)
		err = ctx.Finalize()
		ctx.Destroy()
		lap("finalize", err)

		begin := time.Now()
		k, err := pkcs11.Backend{}.Open(b.Context(), r, withPIN(pkcs11test.PIN))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
		if err := k.Close(); err != nil {
			b.Fatal(err)
		}
		whole += time.Since(begin)
	}
	b.ReportMetric(0, "ns/op") // not meaningful for the pair
	var sum time.Duration
	for _, step := range steps {
		sum += took[step]
		b.ReportMetric(float64(took[step].Microseconds())/float64(b.N), step+"-µs")
	}
	b.ReportMetric(float64(whole.Microseconds())/float64(b.N), "whole-µs")
	b.ReportMetric(float64(whole)/float64(sum), "whole/bare")
}

func findSlot(ctx *p11.Ctx, label string) (uint, error) {
	slots, err := ctx.GetSlotList(true)
	for _, slot := range slots {
		if info, err := ctx.GetTokenInfo(slot); err == nil && info.Label == label {
			return slot, nil
		}
	}
	return 0, err
}

func findPrivate(ctx *p11.Ctx, s p11.SessionHandle, label string) (p11.ObjectHandle, error) {
	template := []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_LABEL, label)}
	if err := ctx.FindObjectsInit(s, template); err != nil {
		return 0, err
	}
	found, _, err := ctx.FindObjects(s, 1)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, p11.Error(p11.CKR_KEY_HANDLE_INVALID)
	}
	return found[0], ctx.FindObjectsFinal(s)
}
