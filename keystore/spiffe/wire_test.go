package spiffe

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A stream gives the same messages however it is cut into reads, and each truncation is
// noticed.
func TestReadFrame(t *testing.T) {
	message := []byte("a message")
	all := append(spiffetest.Frame(message), spiffetest.Frame(nil)...)
	for _, r := range []io.Reader{bytes.NewReader(all), iotest.OneByteReader(bytes.NewReader(all)), iotest.DataErrReader(bytes.NewReader(all))} {
		begun := 0
		first, err := readFrame(r, func() { begun++ })
		second, err2 := readFrame(r, func() { begun++ })
		_, err3 := readFrame(r, func() { begun++ })
		if !bytes.Equal(first, message) || len(second) != 0 || err != nil || err2 != nil || !errors.Is(err3, io.EOF) || begun != 2 {
			t.Errorf("%q, %v, %q, %v, %v; %d begun", first, err, second, err2, err3, begun)
		}
	}
	for n := 1; n < len(message)+5; n++ {
		if _, err := readFrame(bytes.NewReader(all[:n]), func() {}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// FuzzResponse reads a stream of frames. What is decoded is within the limits, and each
// SVID that the checks accept has a key.
func FuzzResponse(f *testing.F) {
	ca := signertest.NewCA(f, "root").Intermediate(f, "SPIRE")
	svid := spiffetest.Issue(f, ca, "p256", "spiffe://example.org/app", nil)
	svid.Hint = "internal"
	message := spiffetest.Message(f, svid)
	for _, seed := range [][]byte{
		spiffetest.Frame(message), spiffetest.Frame(nil), spiffetest.Frame(append(message, message...)), spiffetest.Frame(spiffetest.Field(message, 3, []byte("x"))),
		{1, 0, 0, 0, 0}, {0, 0xff, 0xff, 0xff, 0xff}, spiffetest.Frame([]byte{0x08, 0x80, 0x80}), spiffetest.Frame([]byte{0x0b, 0x0c}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		for {
			message, err := readFrame(r, func() {})
			if err != nil {
				return
			}
			all, err := decodeResponse(message)
			if err != nil && len(all) > 0 || len(all) > maxSVIDs {
				t.Fatalf("%d SVIDs, %v", len(all), err)
			}
			for _, s := range all {
				if !utf8.ValidString(s.id) || !utf8.ValidString(s.hint) || len(s.chain)+len(s.key) > len(message) {
					t.Errorf("%q", s)
				}
				certs, err := s.certificates()
				if err != nil {
					continue
				}
				if len(certs) == 0 || certs[0].URIs[0].String() != s.id || checkID(s.id) != nil {
					t.Errorf("%q was accepted", s.id)
				}
				_, _ = s.privateKey(certs[0])
			}
		}
	})
}
