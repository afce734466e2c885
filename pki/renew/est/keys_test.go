package est_test

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// stores have functions that make keys. Each key is closed at the end of the
// test.
var stores = map[string]func(t *testing.T) func() signer.Signer{
	"file P-384": inMemory("p384"),
	"swtpm P-256": func(t *testing.T) func() signer.Signer {
		signertest.Require(t, "swtpm", "swtpm")
		device := ";" + keystore.FormatAttribute("device", tpmtest.Start(t).Path)
		return func() signer.Signer {
			return generate(t, "tpm:path="+t.TempDir()+"/key.pem"+device, keystore.P256, keystore.Options{})
		}
	},
}

func inMemory(kind string) func(t *testing.T) func() signer.Signer {
	return func(t *testing.T) func() signer.Signer {
		return func() signer.Signer { return signer.FromKey(signertest.NewKey(t, kind)) }
	}
}

func generate(t *testing.T, reference string, kind keystore.KeyType, opts keystore.Options) signer.Signer {
	t.Helper()
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		t.Fatal(err)
	}
	key, err := all.New().Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { key.Close() })
	return key
}
