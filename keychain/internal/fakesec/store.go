//go:build linux && (amd64 || arm64)

package fakesec

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
)

// Scope returns the double's number of a scope, for FailFind.
func Scope(s native.Scope) int32 { return 1 << s }

// An Item is an identity, or a certificate if Key is nil.
type Item struct {
	Scope        native.Scope
	Label, Token string
	Certificate  []byte // DER
	Key          crypto.Signer
}

// keys are the private keys of the items, by their number in C.
var keys struct {
	sync.Mutex
	byID map[int32]crypto.Signer
}

func forgetKeys() {
	keys.Lock()
	defer keys.Unlock()
	keys.byID = nil
}

// Add adds an item to the store.
func (d *Double) Add(tb testing.TB, i Item) {
	tb.Helper()
	var id, isRSA int32
	if i.Key != nil {
		keys.Lock()
		if keys.byID == nil {
			keys.byID = make(map[int32]crypto.Signer)
		}
		id = int32(len(keys.byID) + 1)
		keys.byID[id] = i.Key
		keys.Unlock()
		if _, ok := i.Key.Public().(*rsa.PublicKey); ok {
			isRSA = 1
		}
	}
	names := []byte(i.Label + "\x00" + i.Token + "\x00")
	if d.add(unsafe.SliceData(i.Certificate), len(i.Certificate), Scope(i.Scope), id, isRSA, &names[0]) == 0 {
		tb.Fatal("the store of the double is full")
	}
}

// sign signs a digest for the double with the key id. It selects the hash and the
// padding by the name of the algorithm.
func sign(id int32, algorithm *byte, digest *byte, n int32, out *byte, capacity int32) int32 {
	keys.Lock()
	key := keys.byID[id]
	keys.Unlock()
	name := cString(algorithm)
	var opts crypto.SignerOpts
	for suffix, hash := range map[string]crypto.Hash{"SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512} {
		if strings.HasSuffix(name, suffix) {
			opts = hash
		}
	}
	if key == nil || opts == nil {
		return -1
	}
	if strings.Contains(name, "PSS") {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: opts.HashFunc()}
	}
	sig, err := key.Sign(rand.Reader, bytes.Clone(unsafe.Slice(digest, n)), opts)
	if err != nil || len(sig) > int(capacity) {
		return -1
	}
	return int32(copy(unsafe.Slice(out, capacity), sig))
}

func cString(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
