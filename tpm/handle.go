package tpm

import (
	"strconv"
	"strings"
)

// A Handle is the handle of a persistent object or a hierarchy (TPM 2.0
// Library, part 2, section 7).
type Handle uint32

// The handles of the hierarchies (part 2, section 7.4).
const (
	OwnerHierarchy       Handle = 0x40000001
	NullHierarchy        Handle = 0x40000007
	EndorsementHierarchy Handle = 0x4000000b
	PlatformHierarchy    Handle = 0x4000000c
)

func isHierarchy(h Handle) bool {
	return h == OwnerHierarchy || h == NullHierarchy || h == EndorsementHierarchy || h == PlatformHierarchy
}

func isPersistent(h Handle) bool { return h>>24 == 0x81 }

// firstPlatformHandle is the first persistent handle that the platform
// hierarchy controls, not the owner (part 3, section 28.5: TPM2_EvictControl).
const firstPlatformHandle Handle = 0x81800000

// parseHandle parses a decimal number, or a hexadecimal number after 0x.
func parseHandle(s string) (Handle, error) {
	base := 10
	digits, ok := strings.CutPrefix(strings.ToLower(s), "0x")
	if ok {
		base = 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	return Handle(n), err
}
