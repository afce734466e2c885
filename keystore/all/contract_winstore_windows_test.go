package all

import (
	"crypto/rsa"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/winstore/winstoretest"
)

func winstoreContract(t *testing.T) keystore.Ref {
	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	info := winstoretest.CryptoAPI(t, key, winstoretest.AES, winstoretest.Signature, false)
	store := winstoretest.Store(t, false)
	winstoretest.Add(t, store, false, signertest.NewCA(t, "root").Issue(t, key, nil), &info)
	return keystore.Ref{Scheme: "winstore", Rest: "store=" + store}
}
