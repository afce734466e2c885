package rolesanywhere

import (
	"strings"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
)

// These functions check the syntax of names by hand, because compiling regular
// expressions would take a tenth of the program's start time.

func all(s string, ok func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !ok(s[i]) {
			return false
		}
	}
	return s != ""
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
func lower(c byte) bool { return 'a' <= c && c <= 'z' }

func nameChar(c byte) bool { return awsservice.IsNameChar(rune(c)) }

// isSessionName checks the syntax of RoleSessionName (AWS STS API Reference,
// AssumeRole).
func isSessionName(s string) bool { return len(s) >= 2 && len(s) <= 64 && all(s, nameChar) }

func isPartition(s string) bool {
	return s == "aws" || strings.HasPrefix(s, "aws-") && all(s, func(c byte) bool { return lower(c) || c == '-' })
}

// isRegion accepts words of letters and a number, such as "us-gov-east-1".
func isRegion(s string) bool {
	parts := strings.Split(s, "-")
	last := len(parts) - 1
	for _, p := range parts[:last] {
		if !all(p, lower) {
			return false
		}
	}
	return last >= 2 && all(parts[last], digit)
}

func isUUID(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) != 5 {
		return false
	}
	for i, n := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != n || !all(parts[i], func(c byte) bool { return digit(c) || lower(c) }) {
			return false
		}
	}
	return true
}

const maxAlias = 256 // characters

// isAlias checks the alias of a trust anchor or a profile (IAM Roles Anywhere
// API Reference, CreateTrustAnchor, aliasName). Aliases are case-sensitive.
func isAlias(s string) bool {
	letter := func(c byte) bool { return lower(c) || 'A' <= c && c <= 'Z' }
	if len(s) > maxAlias || s == "" || !letter(s[0]) || len(s) >= 4 && strings.EqualFold(s[:4], "aws/") {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !all(part, func(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '-' }) {
			return false
		}
	}
	return true
}
