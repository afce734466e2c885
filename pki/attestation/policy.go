package attestation

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Policy is a policy that a CA requires of a key: certain values of PCRs. A key
// that also requires its password has the policy, too. [ParsePolicy] makes it.
type Policy struct {
	text      string
	selection tpm2.TPMLPCRSelection
	values    []byte // of the selected PCRs, in the order of the selection
}

// String returns the text of the policy.
func (p Policy) String() string { return p.text }

// A bank is a bank of PCRs.
type bank struct {
	alg  tpm2.TPMAlgID
	size int // of a PCR, in bytes
}

// banks has the names of tpm2-tools.
var banks = lookup.Table[string, bank]{
	{"sha1", bank{tpm2.TPMAlgSHA1, 20}},
	{"sha256", bank{tpm2.TPMAlgSHA256, 32}},
	{"sha384", bank{tpm2.TPMAlgSHA384, 48}},
	{"sha512", bank{tpm2.TPMAlgSHA512, 64}},
}

// pcrCount is the number of PCRs in a bank (TCG PC Client Platform TPM Profile,
// section 4.6).
const pcrCount = 24

// refusePolicy returns an error about the text of a policy.
func refusePolicy(format string, values ...any) (Policy, error) {
	return Policy{}, signer.WithHint(fmt.Errorf(format, values...),
		"write the value of each PCR in hexadecimal, as in pcr=sha256:7=VALUE; a machine in the right state shows it with: tpm2_pcrread sha256:7")
}

// ParsePolicy parses a policy in the form pcr=BANK:NUMBER=VALUE,…, with several
// banks separated by +.
func ParsePolicy(text string) (Policy, error) {
	p := Policy{text: text}
	rest, ok := strings.CutPrefix(text, "pcr=")
	if !ok {
		return refusePolicy("it does not begin with pcr=")
	}
	for part := range strings.SplitSeq(rest, "+") {
		name, list, _ := strings.Cut(part, ":")
		b, ok := banks.Find(name)
		switch {
		case !ok:
			return refusePolicy("the bank %.40q is not one of %s", name, strings.Join(banks.Keys(), ", "))
		case slices.ContainsFunc(p.selection.PCRSelections, func(s tpm2.TPMSPCRSelection) bool { return s.Hash == b.alg }):
			return refusePolicy("the bank %s is given twice", name)
		}
		values := make(map[uint64][]byte)
		for item := range strings.SplitSeq(list, ",") {
			number, value, hasValue := strings.Cut(item, "=")
			n, err := strconv.ParseUint(number, 10, 8)
			decoded, hexErr := hex.DecodeString(strings.TrimPrefix(strings.ToLower(value), "0x")) // as tpm2_pcrread prints it
			switch {
			case err != nil || n >= pcrCount:
				return refusePolicy("%.40q is not the number of a PCR, from 0 to %d", number, pcrCount-1)
			case values[n] != nil:
				return refusePolicy("PCR %d is given twice", n)
			case !hasValue || value == "":
				return refusePolicy("PCR %d has no value", n)
			case hexErr != nil:
				return refusePolicy("the value of PCR %d is not in hexadecimal: it has an odd number of digits or another character", n)
			case len(decoded) != b.size:
				return refusePolicy("the value of PCR %d has %d hexadecimal digits, but those of the bank %s have %d", n, 2*len(decoded), name, 2*b.size)
			}
			values[n] = decoded
		}
		var bits uint32
		for _, n := range slices.Sorted(maps.Keys(values)) { // as the TPM reads them
			bits |= 1 << n
			p.values = append(p.values, values[n]...)
		}
		p.selection.PCRSelections = append(p.selection.PCRSelections, tpm2.TPMSPCRSelection{
			Hash: b.alg, PCRSelect: binary.LittleEndian.AppendUint32(nil, bits)[:pcrCount/8],
		})
	}
	return p, nil
}

// digests returns the policy digests of keys with the policy: with and without a
// password.
func (p Policy) digests(nameAlg tpm2.TPMAlgID) (all [][]byte, err error) {
	hash, err := nameAlg.Hash()
	if err != nil {
		return nil, err
	}
	h := hash.New()
	h.Write(p.values)
	c, err := tpm2.NewPolicyCalculator(nameAlg)
	if err != nil {
		return nil, err
	}
	if err := (tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: h.Sum(nil)}, Pcrs: p.selection}).Update(c); err != nil {
		return nil, err
	}
	all = append(all, c.Hash().Digest)
	if err := (tpm2.PolicyAuthValue{}).Update(c); err != nil {
		return nil, err
	}
	return append(all, c.Hash().Digest), nil
}

// checkPolicy checks that the key has one of the policies.
func (e *Evidence) checkPolicy(required []Policy) error {
	if len(required) == 0 {
		return nil
	}
	if len(e.area.AuthPolicy.Buffer) == 0 {
		return signer.WithHint(fmt.Errorf("%w: it has none", ErrPolicy), "generate a key that is bound to PCRs, as in tpm:path=app.pem;pcrs=sha256:7")
	}
	if e.area.ObjectAttributes.UserWithAuth {
		return signer.WithHint(fmt.Errorf("%w: it can also be used without its policy, because it has the attribute userWithAuth", ErrPolicy), "generate a key that is bound to PCRs, as in tpm:path=app.pem;pcrs=sha256:7")
	}
	for _, p := range required {
		digests, err := p.digests(e.area.NameAlg)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(digests, func(d []byte) bool { return bytes.Equal(d, e.area.AuthPolicy.Buffer) }) {
			return nil
		}
	}
	return signer.WithHint(fmt.Errorf("%w: it is bound to %s, with other PCRs or other values than %s", ErrPolicy, e.PolicyText(), texts(required)),
		"generate the key when the PCRs have the required values; the machine shows them with: tpm2_pcrread sha256:7")
}

func texts(policies []Policy) string {
	var all []string
	for _, p := range policies {
		all = append(all, p.text)
	}
	return strings.Join(all, " or ")
}

// PolicyText describes the policy of the key in one line.
func (e *Evidence) PolicyText() string {
	if len(e.area.AuthPolicy.Buffer) == 0 {
		return "none"
	}
	var parts []string
	for _, s := range e.parts.Policy {
		if s.AuthValue {
			parts = append(parts, "the password of the key")
			continue
		}
		parts = append(parts, "PCRs "+s.PCRs)
	}
	if len(parts) == 0 {
		return fmt.Sprintf("an unknown policy with the digest %x", e.area.AuthPolicy.Buffer)
	}
	return strings.Join(parts, " and ")
}

// The limits of a policy keep the errors about it short. A selection of all PCRs in all
// banks has 273 bytes, and a digest of SHA-512 has 64.
const (
	maxSteps     = 16
	maxSelection = 300
	maxDigest    = 64
)

// checkSteps returns an error if the steps do not result in the policy of the key.
func (e *Evidence) checkSteps() error {
	if len(e.parts.Policy) == 0 {
		return nil // the policy is unknown, or there is none
	}
	c, err := tpm2.NewPolicyCalculator(e.area.NameAlg)
	if err != nil || len(e.parts.Policy) > maxSteps {
		return errors.New("the policy is too long or has an unknown hash algorithm")
	}
	for _, s := range e.parts.Policy {
		var command interface {
			Update(*tpm2.PolicyCalculator) error
		} = tpm2.PolicyAuthValue{}
		if len(s.PCRs) > maxSelection || len(s.Digest) > maxDigest {
			return errors.New("a step of the policy is too long")
		}
		if !s.AuthValue {
			selection, err := parseSelection(s.PCRs)
			if err != nil {
				return err
			}
			command = tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: s.Digest}, Pcrs: selection}
		} else if s.PCRs != "" || s.Digest != nil {
			return errors.New("a step of the policy is both for PCRs and for the password")
		}
		if err := command.Update(c); err != nil {
			return err
		}
	}
	if !bytes.Equal(c.Hash().Digest, e.area.AuthPolicy.Buffer) {
		return errors.New("the policy is not that of the key")
	}
	return nil
}

// parseSelection parses a selection of PCRs, such as sha256:0,7+sha384:1.
func parseSelection(text string) (s tpm2.TPMLPCRSelection, err error) {
	invalid := fmt.Errorf("%.40q is not a selection of PCRs", text)
	for part := range strings.SplitSeq(text, "+") {
		name, list, _ := strings.Cut(part, ":")
		b, ok := banks.Find(name)
		if !ok || len(s.PCRSelections) == len(banks) {
			return s, invalid
		}
		var bits uint32
		for number := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseUint(number, 10, 8)
			if err != nil || n >= pcrCount {
				return s, invalid
			}
			bits |= 1 << n
		}
		s.PCRSelections = append(s.PCRSelections, tpm2.TPMSPCRSelection{Hash: b.alg, PCRSelect: binary.LittleEndian.AppendUint32(nil, bits)[:pcrCount/8]})
	}
	return s, nil
}
