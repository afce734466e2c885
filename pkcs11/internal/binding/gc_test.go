//go:build (darwin || linux) && (amd64 || arm64)

package binding

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	classPublic, classPrivate = 2, 3
	keyRSA, keyEC             = 0, 3

	attrClass, attrToken, attrLabel, attrKeyType, attrSign, attrVerify = 0x0, 0x1, 0x3, 0x100, 0x108, 0x10a
	attrModulus, attrModulusBits, attrExponent, attrParams, attrPoint  = 0x120, 0x121, 0x122, 0x180, 0x181
)

// The garbage collector runs all the time while eight goroutines call the module. An
// argument that it frees or moves too early shows as a wrong result, an error or a crash.
func TestGarbageCollection(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	softhsm := pkcs11test.New(t)
	softhsm.Token(t)
	l, err := Open(softhsm.Module)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Initialize(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Finalize(); err != nil {
			t.Error(err)
		}
	}()
	slots, err := l.Slots()
	if err != nil || len(slots) == 0 {
		t.Fatalf("slots %v, error %v", slots, err)
	}
	first, err := l.OpenSession(slots[0], true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Login(first, 1, []byte(pkcs11test.PIN)); err != nil {
		t.Fatal(err)
	}

	defer debug.SetGCPercent(debug.SetGCPercent(1))
	done := make(chan struct{})
	var collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	})
	defer collector.Wait()
	defer close(done)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			if err := use(l, slots[0], fmt.Sprint("key ", worker), worker%4 == 0); err != nil {
				t.Errorf("worker %d: %v", worker, err)
			}
		})
	}
	all.Wait()
}

// use makes a key pair with the label, and calls all functions in a session.
func use(l *Library, slot uint64, label string, isRSA bool) error {
	session, err := l.OpenSession(slot, true)
	if err != nil {
		return err
	}
	defer l.CloseSession(session)
	name := []Attribute{{attrToken, []byte{0}}, {attrLabel, []byte(label)}}
	public := append([]Attribute{{attrClass, Ulong(classPublic)}, {attrKeyType, Ulong(keyEC)}, {attrVerify, []byte{1}}, {attrParams, []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")}}, name...)
	private := append([]Attribute{{attrClass, Ulong(classPrivate)}, {attrKeyType, Ulong(keyEC)}, {attrSign, []byte{1}}}, name...)
	generate, sign, types := Mechanism{Kind: 0x1040}, Mechanism{Kind: 0x1041}, []uint64{attrPoint}
	if isRSA {
		public = append([]Attribute{{attrClass, Ulong(classPublic)}, {attrKeyType, Ulong(keyRSA)}, {attrVerify, []byte{1}}, {attrModulusBits, Ulong(2048)}, {attrExponent, []byte{1, 0, 1}}}, name...)
		private[1].Value = Ulong(keyRSA)
		generate, sign, types = Mechanism{}, Mechanism{0xd, []uint64{0x250, 2, 32}}, []uint64{attrModulus, attrExponent}
	}
	pub, priv, err := l.GenerateKeyPair(session, generate, public, private)
	if err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	values, err := l.Attributes(session, pub, types)
	if err != nil || len(values) != len(types) {
		return fmt.Errorf("public key: %d attributes, error %v", len(values), err)
	}
	for i := range 50 {
		digest := sha256.Sum256([]byte(fmt.Sprint(label, i)))
		found, err := l.Find(session, private, 10)
		if err != nil || len(found) != 1 || found[0] != priv {
			return fmt.Errorf("found %v, error %v", found, err)
		}
		read, err := l.Attributes(session, pub, append([]uint64{attrLabel}, types...))
		if err != nil || len(read) != 1+len(types) || string(read[0].Value) != label || !bytes.Equal(read[1].Value, values[0].Value) {
			return fmt.Errorf("attributes %v, error %v", read, err)
		}
		if texts, _, _, err := l.TokenInfo(slot); err != nil || len(texts) != 4 {
			return fmt.Errorf("token %q, error %v", texts, err)
		}
		if in, err := l.LoggedIn(session); err != nil || !in {
			return fmt.Errorf("logged in: %t, error %v", in, err)
		}
		if err := l.SignInit(session, priv, sign); err != nil {
			return fmt.Errorf("C_SignInit: %w", err)
		}
		sig, err := l.Sign(session, digest[:])
		if err != nil {
			return fmt.Errorf("C_Sign: %w", err)
		}
		if !verify(values, digest[:], sig, isRSA) {
			return fmt.Errorf("wrong signature %x", sig)
		}
	}
	for _, object := range []uint64{pub, priv} {
		if err := l.DestroyObject(session, object); err != nil {
			return fmt.Errorf("destroy: %w", err)
		}
	}
	return nil
}

func verify(key []Attribute, digest, sig []byte, isRSA bool) bool {
	if isRSA {
		pub := rsa.PublicKey{N: new(big.Int).SetBytes(key[0].Value), E: int(new(big.Int).SetBytes(key[1].Value).Int64())}
		return rsa.VerifyPSS(&pub, crypto.SHA256, digest, sig, &rsa.PSSOptions{SaltLength: 32}) == nil
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), key[0].Value[2:]) // in an OCTET STRING
	return err == nil && len(sig) == 64 && ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}
