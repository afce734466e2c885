package attestation_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/holdfast-dev/holdfast/pki/attestation"
)

// Shells of Windows write UTF-16 with a byte order mark when they redirect output, and
// editors add a mark to UTF-8.
func TestEncodings(t *testing.T) {
	good := newEvidence(t, newParts(t, "p256")).Marshal()
	for name, encoded := range map[string][]byte{
		"UTF-8 with a mark": append([]byte("\ufeff"), good...),
		"UTF-16LE":          wide(binary.LittleEndian, good),
		"UTF-16BE":          wide(binary.BigEndian, good),
		"carriage returns":  bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
	} {
		e, err := attestation.Parse(encoded)
		if err != nil || !attestation.IsFile(encoded) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(e.Marshal(), encoded) {
			t.Errorf("%s: the file is another one", name)
		}
	}
}

func wide(order binary.AppendByteOrder, text []byte) (data []byte) {
	for _, unit := range append([]uint16{0xfeff}, utf16.Encode([]rune(string(text)))...) {
		data = order.AppendUint16(data, unit)
	}
	return data
}
