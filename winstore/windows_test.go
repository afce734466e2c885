//go:build windows

package winstore

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/winstore/winstoretest"
)

// These tests run on Windows and under Wine. Cases that Wine's ncrypt.dll does
// not support are skipped.

// addToStore adds a certificate for a key, linked to info, to a new store, and
// returns a reference to it.
func addToStore(t *testing.T, l Location, key crypto.Signer, info winstoretest.KeyInfo) keystore.Ref {
	t.Helper()
	machine := l == Machine
	store := winstoretest.Store(t, machine)
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	winstoretest.Add(t, store, machine, ca.Cert, nil)
	winstoretest.Add(t, store, machine, ca.Root(), nil)
	winstoretest.Add(t, store, machine, ca.Issue(t, key, nil), &info)
	return keystore.Ref{Scheme: scheme, Rest: fmt.Sprintf("location=%s;store=%s;subject=CN=client;issuer=CN=issuer", l, store)}
}

func openRef(t *testing.T, ref keystore.Ref) signer.Signer {
	t.Helper()
	k, err := Backend{}.Open(t.Context(), ref, keystore.Call{})
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Chain()) != 2 {
		t.Errorf("chain of %d certificates, want 2", len(k.Chain()))
	}
	return k
}

func TestWindowsCryptoAPI(t *testing.T) {
	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	for _, l := range []Location{User, Machine} {
		for _, p := range []winstoretest.Provider{winstoretest.AES, winstoretest.Enhanced, winstoretest.SChannel} {
			for name, spec := range map[string]uint32{"exchange": winstoretest.KeyExchange, "signature": winstoretest.Signature} {
				if p != winstoretest.AES && spec == winstoretest.Signature {
					continue // the SChannel provider has no signature keys
				}
				t.Run(fmt.Sprintf("%s/type %d/%s", l, p.Type, name), func(t *testing.T) {
					ref := addToStore(t, l, key, winstoretest.CryptoAPI(t, key, p, spec, l == Machine))
					signertest.Run(t, func(t *testing.T) signer.Signer { return openRef(t, ref) })
				})
			}
		}
	}
}

func TestWindowsCNG(t *testing.T) {
	kinds := []string{"rsa2048", "rsa3072", "p256"}
	if !winstoretest.Wine() {
		kinds = append(kinds, "p384", "p521")
	}
	for _, l := range []Location{User, Machine} {
		for _, kind := range kinds {
			t.Run(string(l)+"/"+kind, func(t *testing.T) {
				key := signertest.Key(t, kind)
				ref := addToStore(t, l, key, winstoretest.CNG(t, key, l == Machine))
				signertest.Run(t, func(t *testing.T) signer.Signer { return openRef(t, ref) })
			})
		}
	}
}

// An attachedSystem has a store in memory as MY. It can be opened only once.
type attachedSystem struct {
	windowsSystem
	store windows.Handle
}

func (a attachedSystem) openStore(l Location, name string, write bool) (storeHandle, error) {
	if name != "MY" {
		return a.windowsSystem.openStore(l, name, write)
	}
	return storeHandle(a.store), nil
}

// A schemeKey supports only some signature schemes. In Wine's ncrypt.dll, a key
// that has made a PSS signature can make only PSS signatures afterwards.
type schemeKey struct {
	*Key
	schemes []tls.SignatureScheme
}

func (s schemeKey) SignatureSchemes() []tls.SignatureScheme { return s.schemes }

func (s schemeKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, isPSS := opts.(*rsa.PSSOptions); isPSS != slices.Contains(s.schemes, tls.PSSWithSHA256) {
		return nil, errors.ErrUnsupported
	}
	return s.Key.Sign(rand, digest, opts)
}

func TestWindowsAttachedCNG(t *testing.T) {
	key := signertest.Key(t, "rsa2048")
	cert := signertest.NewCA(t, "root").Issue(t, key, nil)
	for name, schemes := range map[string][]tls.SignatureScheme{"PKCS1v15": pkcs1Schemes, "PSS": pssSchemes} {
		t.Run(name, func(t *testing.T) {
			signertest.Run(t, func(t *testing.T) signer.Signer {
				sys := attachedSystem{store: windows.Handle(winstoretest.MemoryStore(t, cert, winstoretest.AttachedCNG(t, key)))}
				k, err := open(t.Context(), sys, Config{})
				if err != nil {
					t.Fatal(err)
				}
				return schemeKey{k, schemes}
			})
		})
	}
	t.Run("p256", func(t *testing.T) {
		key := signertest.Key(t, "p256")
		cert := signertest.NewCA(t, "root").Issue(t, key, nil)
		signertest.Run(t, func(t *testing.T) signer.Signer {
			sys := attachedSystem{store: windows.Handle(winstoretest.MemoryStore(t, cert, winstoretest.AttachedCNG(t, key)))}
			k, err := open(t.Context(), sys, Config{})
			if err != nil {
				t.Fatal(err)
			}
			return k
		})
	})
}

func TestWindowsGenerate(t *testing.T) {
	winstoretest.RequireNamedCNG(t, signertest.Key(t, "p256"))
	types := []keystore.KeyType{keystore.RSA2048, keystore.P256, keystore.P384}
	if !winstoretest.Wine() {
		types = append(types, keystore.P521)
	}
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	b := Backend{}
	for _, l := range []Location{User, Machine} {
		for _, typ := range types {
			t.Run(string(l)+"/"+string(typ), func(t *testing.T) {
				name, store := winstoretest.Name(), winstoretest.Store(t, l == Machine)
				ref := keystore.Ref{Scheme: scheme, Rest: fmt.Sprintf("location=%s;store=%s;key=%s;provider=software", l, store, name)}
				k, err := b.Generate(t.Context(), ref, keystore.KeySpec{Type: typ}, keystore.Call{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { winstoretest.DeleteCNG(t, name, l == Machine) })
				leaf := ca.Issue(t, k, nil)
				if err := k.Close(); err != nil {
					t.Error(err)
				}
				if _, err := b.Generate(t.Context(), ref, keystore.KeySpec{Type: typ}, keystore.Call{}); !errors.Is(err, nteExists) {
					t.Errorf("second key with the same name: error %v", err)
				}
				if _, err := b.Install(t.Context(), ref, only(leaf, ca.Cert), keystore.Call{}); err != nil {
					t.Fatal(err)
				}
				entries, err := b.List(t.Context(), keystore.Ref{Scheme: scheme, Rest: fmt.Sprintf("location=%s;store=%s", l, store)}, keystore.Call{})
				if err != nil || len(entries) != 1 || entries[0].Kind != keystore.KeyEntry || !entries[0].Certificate.Equal(leaf) {
					t.Fatalf("list %+v, error %v", entries, err)
				}
				if !slices.ContainsFunc(winstoretest.Contents(t, "CA", l == Machine), func(der []byte) bool { return string(der) == string(ca.Cert.Raw) }) {
					t.Error("the issuer is not in store CA")
				}
				signertest.Run(t, func(t *testing.T) signer.Signer { return openRef(t, ref) })
				listed := openRef(t, entries[0].Ref)
				defer listed.Close()
				if _, err := listed.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Keys in the TPM, if there is one.
func TestWindowsTPM(t *testing.T) {
	if winstoretest.Wine() {
		t.Skip("Wine has no TPM")
	}
	for _, typ := range []keystore.KeyType{keystore.RSA2048, keystore.P256} {
		t.Run(string(typ), func(t *testing.T) {
			ref := keystore.Ref{Scheme: scheme, Rest: "key=" + winstoretest.Name()}
			k, err := Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: typ}, keystore.Call{})
			if errors.Is(err, signer.ErrUnavailable) || errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("to delete the key: certutil -user -csp %q -delkey %s", tpmProvider, ref.Rest[len("key="):])
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			signertest.Run(t, func(t *testing.T) signer.Signer {
				k, err := Backend{}.Open(t.Context(), ref, keystore.Call{})
				if err != nil {
					t.Fatal(err)
				}
				return k
			})
		})
	}
}

func TestWindowsErrors(t *testing.T) {
	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	store := winstoretest.Store(t, false)
	ca := signertest.NewCA(t, "root")
	winstoretest.Add(t, store, false, ca.Cert, nil)
	gone := winstoretest.KeyInfo{Container: winstoretest.Name(), Provider: winstoretest.AES.Name, Type: winstoretest.AES.Type, Spec: winstoretest.Signature}
	winstoretest.Add(t, store, false, ca.Issue(t, key, func(c *x509.Certificate) { c.Subject.CommonName = "gone" }), &gone)
	for _, test := range []struct {
		rest string
		want error
	}{
		{"store=" + winstoretest.Name(), errFileNotFound},
		{"store=" + winstoretest.Name() + ";location=machine", errFileNotFound},
		{"store=" + store + ";subject=CN=none", signer.ErrNotFound},
		{"store=" + store + ";subject=CN=root", errNoKey},
		{"store=" + store + ";subject=CN=gone", signer.ErrNotFound},
	} {
		_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: test.rest}, keystore.Call{})
		if !errors.Is(err, test.want) || signer.Hint(err) == "" {
			t.Errorf("%s: error %v, hint %q; want %v", test.rest, err, signer.Hint(err), test.want)
		}
	}
	certs, err := Backend{}.Certificates(t.Context(), keystore.Ref{Scheme: scheme, Rest: "store=" + store + ";subject=CN=gone"}, keystore.Call{})
	if err != nil || len(certs) != 1 {
		t.Errorf("certificate without key: %d certificates, error %v", len(certs), err)
	}
}

// The store MY of the machine also contains a certificate that cannot be used.
func TestWindowsMachineMY(t *testing.T) {
	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	info := winstoretest.CryptoAPI(t, key, winstoretest.AES, winstoretest.KeyExchange, true)
	ca := signertest.NewCA(t, "root")
	name := winstoretest.Name()
	leaf := ca.Issue(t, key, func(c *x509.Certificate) { c.Subject.CommonName = name })
	unusable, err := x509.ParseCertificate(withAlgorithm(t, leaf, 2, 16, 840, 1, 101, 3, 4, 3, 17))
	if err != nil {
		t.Fatal(err)
	}
	winstoretest.Add(t, "MY", true, unusable, &info)
	winstoretest.Add(t, "MY", true, leaf, &info)
	k, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "location=machine;subject=CN=" + name}, keystore.Call{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
	_, err = Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "location=machine;sha256=" + sumOf(unusable)}, keystore.Call{})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "ML-DSA-44") {
		t.Errorf("ML-DSA: error %v", err)
	}
	entries, err := Backend{}.List(t.Context(), keystore.Ref{Scheme: scheme, Rest: "subject=CN=" + name}, keystore.Call{})
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries, error %v", len(entries), err)
	}
}

// The numbers in errors.go are the same as in x/sys/windows.
func TestWindowsErrorNumbers(t *testing.T) {
	for _, test := range []struct {
		ours Error
		want windows.Handle
	}{
		{nteBadHash, windows.NTE_BAD_HASH}, {nteBadKey, windows.NTE_BAD_KEY}, {nteBadLen, windows.NTE_BAD_LEN},
		{nteBadData, windows.NTE_BAD_DATA}, {nteBadAlgID, windows.NTE_BAD_ALGID}, {nteBadFlags, windows.NTE_BAD_FLAGS},
		{nteBadType, windows.NTE_BAD_TYPE}, {nteBadKeyState, windows.NTE_BAD_KEY_STATE}, {nteNoKey, windows.NTE_NO_KEY},
		{nteNoMemory, windows.NTE_NO_MEMORY}, {nteExists, windows.NTE_EXISTS}, {ntePerm, windows.NTE_PERM},
		{nteNotFound, windows.NTE_NOT_FOUND}, {nteBadProvider, windows.NTE_BAD_PROVIDER}, {nteBadProvType, windows.NTE_BAD_PROV_TYPE},
		{nteBadPublicKey, windows.NTE_BAD_PUBLIC_KEY}, {nteBadKeyset, windows.NTE_BAD_KEYSET}, {nteProvTypeNotDef, windows.NTE_PROV_TYPE_NOT_DEF},
		{nteKeysetNotDef, windows.NTE_KEYSET_NOT_DEF}, {nteKeysetEntryBad, windows.NTE_KEYSET_ENTRY_BAD}, {nteProvDLLFail, windows.NTE_PROVIDER_DLL_FAIL},
		{nteProvNotFound, windows.NTE_PROV_DLL_NOT_FOUND}, {nteFail, windows.NTE_FAIL}, {nteSilentContext, windows.NTE_SILENT_CONTEXT},
		{nteStorageFull, windows.NTE_TOKEN_KEYSET_STORAGE_FULL}, {nteTempProfile, windows.NTE_TEMPORARY_PROFILE}, {nteInvalidHandle, windows.NTE_INVALID_HANDLE},
		{nteInvalidParam, windows.NTE_INVALID_PARAMETER}, {nteBufferTooSmall, windows.NTE_BUFFER_TOO_SMALL}, {nteNotSupported, windows.NTE_NOT_SUPPORTED},
		{nteInternalError, windows.NTE_INTERNAL_ERROR}, {nteUIRequired, windows.NTE_UI_REQUIRED}, {nteNotReady, windows.NTE_DEVICE_NOT_READY},
		{nteBadPassword, windows.NTE_INCORRECT_PASSWORD}, {nteDeviceNotFound, windows.NTE_DEVICE_NOT_FOUND}, {nteUserCancelled, windows.NTE_USER_CANCELLED},
		{cryptNotFound, windows.CRYPT_E_NOT_FOUND}, {cryptExists, windows.CRYPT_E_EXISTS},
		{cryptNoKeyProperty, windows.CRYPT_E_NO_KEY_PROPERTY}, {cryptNoMatch, windows.CRYPT_E_NO_MATCH},
		{scardCancelled, windows.SCARD_E_CANCELLED}, {scardTimeout, windows.SCARD_E_TIMEOUT}, {scardSharing, windows.SCARD_E_SHARING_VIOLATION},
		{scardNoCard, windows.SCARD_E_NO_SMARTCARD}, {scardNotReady, windows.SCARD_E_NOT_READY}, {scardReaderGone, windows.SCARD_E_READER_UNAVAILABLE},
		{scardNoService, windows.SCARD_E_NO_SERVICE}, {scardServiceStopped, windows.SCARD_E_SERVICE_STOPPED}, {scardNoReaders, windows.SCARD_E_NO_READERS_AVAILABLE},
		{scardCommLost, windows.SCARD_E_COMM_DATA_LOST}, {scardNoKeyContainer, windows.SCARD_E_NO_KEY_CONTAINER}, {scardUnresponsive, windows.SCARD_W_UNRESPONSIVE_CARD},
		{scardUnpowered, windows.SCARD_W_UNPOWERED_CARD}, {scardReset, windows.SCARD_W_RESET_CARD}, {scardRemoved, windows.SCARD_W_REMOVED_CARD},
		{scardSecurity, windows.SCARD_W_SECURITY_VIOLATION}, {scardWrongPIN, windows.SCARD_W_WRONG_CHV}, {scardPINBlocked, windows.SCARD_W_CHV_BLOCKED},
		{scardCancelledByUser, windows.SCARD_W_CANCELLED_BY_USER}, {scardNotAuthed, windows.SCARD_W_CARD_NOT_AUTHENTICATED},
		{tbsTPMNotFound, windows.TBS_E_TPM_NOT_FOUND}, {tpmLockout, windows.TPM_20_E_LOCKOUT}, {tpmAuthFail, windows.TPM_20_E_AUTH_FAIL},
		{tpmBadAuth, windows.TPM_20_E_BAD_AUTH}, {scardInvalidPIN, windows.SCARD_E_INVALID_CHV},
		{tpmNotReady, windows.TPM_E_PCP_DEVICE_NOT_READY}, {tpmUnsupported, windows.TPM_E_PCP_FLAG_NOT_SUPPORTED},
		{errFileNotFound, windows.Handle(windows.ERROR_FILE_NOT_FOUND)}, {errAccessDenied, windows.Handle(windows.ERROR_ACCESS_DENIED)}, {errInvalidHandle, windows.Handle(windows.ERROR_INVALID_HANDLE)},
		{errNotEnoughRAM, windows.Handle(windows.ERROR_NOT_ENOUGH_MEMORY)}, {errNotSupported, windows.Handle(windows.ERROR_NOT_SUPPORTED)}, {errInvalidParam, windows.Handle(windows.ERROR_INVALID_PARAMETER)},
		{errNoMoreFiles, windows.Handle(windows.ERROR_NO_MORE_FILES)}, {errCancelled, windows.Handle(windows.ERROR_CANCELLED)}, {errNoSuchLogon, windows.Handle(windows.ERROR_NO_SUCH_LOGON_SESSION)},
		{errServerDown, windows.Handle(windows.RPC_S_SERVER_UNAVAILABLE)}, {errSysNotReady, windows.Handle(windows.ERROR_NOT_READY)},
	} {
		if uint64(test.ours) != uint64(test.want) {
			t.Errorf("%v is %#x in x/sys/windows", test.ours, test.want)
		}
	}
}
