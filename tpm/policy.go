package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/holdfast-dev/holdfast/signer"
)

// A policy lists the policy commands that authorize the use of a key (TPM 2.0
// Library, part 1, section 19.7). Only TPM2_PolicyPCR and TPM2_PolicyAuthValue
// are supported.
type policy []policyStep

// ccPolicyPassword is TPM2_PolicyPassword. Its policy digest is the same as
// that of TPM2_PolicyAuthValue (part 3, section 23.18.1), but it would send the
// password in clear text. Therefore TPM2_PolicyAuthValue replaces it.
const ccPolicyPassword tpm2.TPMCC = 0x18c

func policyOf(f *keyFile) (policy, error) {
	const hint = "use a key whose policy contains only TPM2_PolicyPCR and TPM2_PolicyAuthValue; other policies are not supported"
	if f.signed {
		return nil, signer.WithHint(fmt.Errorf("has a signed policy: %w", errors.ErrUnsupported), hint)
	}
	for _, s := range f.policy {
		switch s.command {
		case tpm2.TPMCCPolicyPCR:
			if _, err := parsePCRs(s.parameters); err != nil {
				return nil, err
			}
		case tpm2.TPMCCPolicyAuthValue, ccPolicyPassword:
		default:
			return nil, signer.WithHint(fmt.Errorf("has a policy with the command 0x%03x: %w", uint32(s.command), errors.ErrUnsupported), hint)
		}
	}
	return f.policy, nil
}

// wantsPassword reports whether p requires the password.
func (p policy) wantsPassword() bool {
	for _, s := range p {
		if s.command != tpm2.TPMCCPolicyPCR {
			return true
		}
	}
	return false
}

// satisfy sends the commands of p in a session. This authorizes one use of the
// key.
func (p policy) satisfy(t transport.TPM, session tpm2.TPMHandle) error {
	for _, s := range p {
		if s.command != tpm2.TPMCCPolicyPCR {
			if _, err := (tpm2.PolicyAuthValue{PolicySession: session}).Execute(t); err != nil {
				return explain("TPM2_PolicyAuthValue", err)
			}
			continue
		}
		pcrs, err := parsePCRs(s.parameters)
		if err != nil {
			return err
		}
		pcrs.PolicySession = session
		_, err = pcrs.Execute(t)
		var code tpm2.TPMRC
		if errors.Is(err, tpm2.TPMRCValue) && errors.As(err, &code) { // part 3, section 23.7.3
			text := fmt.Sprintf("TPM2_PolicyPCR: the PCR values differ from those to which it was bound (TPM_RC 0x%03x)", uint32(code))
			return &commandError{text, Error(code), signer.ErrUnavailable, hintPolicy}
		}
		if err != nil {
			return explain("TPM2_PolicyPCR", err)
		}
	}
	return nil
}

// parsePCRs parses the parameters of TPM2_PolicyPCR in one of three layouts: the
// digest followed by the selection, as in the command; the reverse order, as
// some tools write them; or the selection followed by the bytes of the digest,
// as go-tpm-keyfiles writes them.
func parsePCRs(data []byte) (tpm2.PolicyPCR, error) {
	n := selectionSize(data)
	var digest, selection []byte
	switch size := sizedBuffer(data); {
	case size > 0 && selectionSize(data[size:]) == len(data)-size:
		digest, selection = data[2:size], data[size:]
	case n < 0:
		return tpm2.PolicyPCR{}, badPolicyPCR()
	case sizedBuffer(data[n:]) == len(data)-n:
		digest, selection = data[n+2:], data[:n]
	case slices.Contains(digestSizes, len(data)-n):
		digest, selection = data[n:], data[:n]
	}
	s, err := unmarshal[tpm2.TPMLPCRSelection](selection)
	if err != nil {
		return tpm2.PolicyPCR{}, badPolicyPCR()
	}
	return tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: digest}, Pcrs: *s}, nil
}

func badPolicyPCR() error { return malformed("invalid parameters of TPM2_PolicyPCR") }

// The sizes of SHA-1, SHA-256, SHA-384 and SHA-512 digests, in bytes.
var digestSizes = []int{20, 32, 48, maxDigest}

const maxDigest = 64

// sizedBuffer returns the size of the TPM2B_DIGEST at the beginning of data, or
// -1 if there is none.
func sizedBuffer(data []byte) int {
	if len(data) < 2 {
		return -1
	}
	n := 2 + int(binary.BigEndian.Uint16(data))
	if n > 2+maxDigest || n > len(data) {
		return -1
	}
	return n
}

// selectionSize returns the size of the TPML_PCR_SELECTION at the beginning of
// data, or -1 if there is none.
func selectionSize(data []byte) int {
	if len(data) < 4 || binary.BigEndian.Uint32(data) > 16 {
		return -1
	}
	n := 4
	for range binary.BigEndian.Uint32(data) {
		if len(data) < n+3 || len(data) < n+3+int(data[n+2]) {
			return -1
		}
		n += 3 + int(data[n+2])
	}
	return n
}
