package winstore

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each code has the number of winerror.h, matches one error at most, and has a
// hint if it matches one.
func TestErrors(t *testing.T) {
	var (
		notFound    = signer.ErrNotFound
		unavailable = signer.ErrUnavailable
		unsupported = errors.ErrUnsupported
		canceled    = context.Canceled
		permission  = fs.ErrPermission
	)
	tests := []struct {
		code uint32
		want error
	}{
		{2, notFound}, {5, permission}, {6, nil}, {8, nil}, {21, unavailable}, {50, unsupported}, {87, nil}, {1223, canceled}, {1312, unavailable}, {1722, unavailable},
		{0x20000027, unsupported},
		{0x80090002, unsupported}, {0x80090003, nil}, {0x80090004, unsupported}, {0x80090005, nil}, {0x80090008, unsupported}, {0x80090009, unsupported},
		{0x8009000a, unsupported}, {0x8009000b, unsupported}, {0x8009000d, notFound}, {0x8009000e, nil}, {0x8009000f, nil}, {0x80090010, permission},
		{0x80090011, notFound}, {0x80090013, unavailable}, {0x80090014, unavailable}, {0x80090015, signer.ErrMismatch}, {0x80090016, notFound},
		{0x80090017, unavailable}, {0x80090019, unavailable}, {0x8009001a, unavailable}, {0x8009001d, unavailable}, {0x8009001e, unavailable},
		{0x80090020, nil}, {0x80090022, signer.ErrPINRequired}, {0x80090023, unavailable}, {0x80090024, unavailable}, {0x80090026, unavailable},
		{0x80090027, unsupported}, {0x80090028, nil}, {0x80090029, unsupported}, {0x8009002d, nil}, {0x8009002e, signer.ErrPINRequired},
		{0x80090030, unavailable}, {0x80090033, signer.ErrPINIncorrect}, {0x80090035, unavailable}, {0x80090036, canceled},
		{0x80092004, notFound}, {0x80092005, nil}, {0x80092009, notFound}, {0x8009200b, notFound},
		{0x80100002, canceled}, {0x8010000a, unavailable}, {0x8010000b, unavailable}, {0x8010000c, unavailable}, {0x80100010, unavailable}, {0x80100017, unavailable},
		{0x8010001d, unavailable}, {0x8010001e, unavailable}, {0x8010002a, signer.ErrPINIncorrect}, {0x8010002e, unavailable}, {0x8010002f, unavailable}, {0x80100030, notFound},
		{0x80100066, unavailable}, {0x80100067, unavailable}, {0x80100068, unavailable}, {0x80100069, unavailable}, {0x8010006a, signer.ErrPINRequired},
		{0x8010006b, signer.ErrPINIncorrect}, {0x8010006c, signer.ErrPINLocked}, {0x8010006e, canceled}, {0x8010006f, signer.ErrPINRequired},
		{0x8028400f, unavailable}, {0x80280921, signer.ErrPINLocked}, {0x8028008e, signer.ErrPINIncorrect}, {0x802800a2, signer.ErrPINIncorrect}, {0x80290401, unavailable}, {0x80290404, unsupported},
	}
	sentinels := []error{
		notFound, unavailable, unsupported, canceled, permission, signer.ErrMismatch, signer.ErrPINRequired, signer.ErrPINIncorrect, signer.ErrPINLocked,
		signer.ErrAmbiguous, signer.ErrNoCertificate, signer.ErrClosed,
	}
	counted := map[uint32]bool{0x80090033: true, 0x8010006b: true, 0x8010006c: true, 0x8028008e: true}
	known := make(map[Error]bool)
	for _, test := range tests {
		err := fmt.Errorf("sign: %w", Error(test.code))
		known[Error(test.code)] = true
		for _, s := range sentinels {
			if errors.Is(err, s) != (s == test.want) {
				t.Errorf("errors.Is(%q, %q) is %t", err, s, errors.Is(err, s))
			}
		}
		if errors.Is(err, signer.ErrTryCounted) != counted[test.code] {
			t.Errorf("%v: a counted try: %t", err, !counted[test.code])
		}
		if test.want != nil && signer.Hint(err) == "" {
			t.Errorf("%v: no hint", err)
		}
		if Error(test.code).Error() == Error(1).Error() {
			t.Errorf("%#x: no text", test.code)
		}
	}
	for _, code := range errorKinds.Keys() {
		if !known[code] {
			t.Errorf("%v is not in this test", code)
		}
	}
	if err := Error(0x8009ffff); err.Error() != "Windows error 0x8009ffff" || signer.Hint(err) != "" {
		t.Errorf("unknown code: %v", err)
	}
}

func TestDERSignature(t *testing.T) {
	zeros := make([]byte, 32)
	one := append(make([]byte, 31), 1)
	high := append([]byte{0x80}, make([]byte, 31)...)
	for _, test := range []struct {
		sig, want []byte
		size      int
	}{
		{append(bytes.Clone(one), one...), []byte{0x30, 6, 2, 1, 1, 2, 1, 1}, 32},
		{append(bytes.Clone(zeros), one...), []byte{0x30, 6, 2, 1, 0, 2, 1, 1}, 32},
		{append(bytes.Clone(one), high...), append([]byte{0x30, 38, 2, 1, 1, 2, 33, 0}, high...), 32},
		{bytes.Repeat([]byte{0x7f}, 132), append(append([]byte{0x30, 0x81, 136, 2, 66}, bytes.Repeat([]byte{0x7f}, 66)...), append([]byte{2, 66}, bytes.Repeat([]byte{0x7f}, 66)...)...), 66},
		{one, nil, 32},
		{nil, nil, 32},
	} {
		got, err := derSignature(test.sig, test.size)
		if !bytes.Equal(got, test.want) || (err == nil) != (test.want != nil) {
			t.Errorf("%x: %x, error %v", test.sig, got, err)
		}
	}
}

func TestPublicBlobs(t *testing.T) {
	for _, kind := range []string{"rsa2048", "rsa4096", "p256", "p384", "p521"} {
		pub := signertest.Key(t, kind).Public()
		for _, blobType := range blobTypes {
			blob, err := publicBlob(pub, blobType.name)
			if err != nil {
				continue
			}
			got, err := blobType.parse(blob)
			if err != nil || !signer.SamePublicKey(got, pub) {
				t.Errorf("%s: %v, error %v", kind, got, err)
			}
			for n := range blob {
				if got, err := blobType.parse(blob[:n]); err == nil {
					t.Fatalf("%s: the first %d of %d bytes are %v", kind, n, len(blob), got)
				}
			}
		}
	}
	for _, b := range [][]byte{
		nil, {1}, bytes.Repeat([]byte{0xff}, 600),
		append([]byte("RSA1"), bytes.Repeat([]byte{0xff}, 600)...),
		append([]byte("ECS1 \x00\x00\x00"), make([]byte, 64)...), // not on the curve
		append([]byte("ECS1\xff\xff\xff\xff"), make([]byte, 64)...),
		append([]byte("ECS9 \x00\x00\x00"), make([]byte, 64)...),
	} {
		for _, blobType := range blobTypes {
			if got, err := blobType.parse(b); err == nil {
				t.Errorf("%s %.20q: %v", blobType.name, b, got)
			}
		}
	}
}

func FuzzPublicBlobs(f *testing.F) {
	for _, kind := range []string{"rsa2048", "p256", "p521"} {
		for _, blobType := range blobTypes {
			if b, err := publicBlob(signertest.Key(f, kind).Public(), blobType.name); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, blobType := range blobTypes {
			pub, err := blobType.parse(b)
			if err != nil {
				continue
			}
			switch pub.(type) {
			case *rsa.PublicKey, *ecdsa.PublicKey:
			default:
				t.Fatalf("%T", pub)
			}
		}
	})
}
