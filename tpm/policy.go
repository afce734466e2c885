package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

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

// parsePCRs parses the parameters of TPM2_PolicyPCR: the digest followed by the
// selection, as in the command, or in the reverse order, as some tools write
// them.
func parsePCRs(data []byte) (tpm2.PolicyPCR, error) {
	for _, digestFirst := range []bool{true, false} {
		digest, selection, ok := cutPCRs(data, digestFirst)
		if !ok {
			continue
		}
		d, err := unmarshal[tpm2.TPM2BDigest](digest)
		if err != nil {
			continue
		}
		s, err := unmarshal[tpm2.TPMLPCRSelection](selection)
		if err != nil {
			continue
		}
		return tpm2.PolicyPCR{PcrDigest: *d, Pcrs: *s}, nil
	}
	return tpm2.PolicyPCR{}, malformed("invalid parameters of TPM2_PolicyPCR")
}

// maxDigest is the size of the largest digest, in bytes.
const maxDigest = 64

// cutPCRs splits data into a TPM2B_DIGEST and a TPML_PCR_SELECTION.
func cutPCRs(data []byte, digestFirst bool) (digest, selection []byte, ok bool) {
	if digestFirst {
		if len(data) < 2 {
			return nil, nil, false
		}
		n := 2 + int(binary.BigEndian.Uint16(data))
		if n > 2+maxDigest || n > len(data) {
			return nil, nil, false
		}
		return data[:n], data[n:], true
	}
	if len(data) < 4 || binary.BigEndian.Uint32(data) > 16 {
		return nil, nil, false
	}
	n := 4
	for range binary.BigEndian.Uint32(data) {
		if len(data) < n+3 || len(data) < n+3+int(data[n+2]) {
			return nil, nil, false
		}
		n += 3 + int(data[n+2])
	}
	return data[n:], data[:n], true
}
