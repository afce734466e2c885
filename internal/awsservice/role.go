package awsservice

import "strings"

// IsRolePath reports whether s, the part of a role's ARN after "role/", is the
// name of a role after any path of visible ASCII characters (IAM API Reference,
// CreateRole). It refuses "." and "..", which URLs and file systems interpret.
func IsRolePath(s string) bool {
	name := s[strings.LastIndexByte(s, '/')+1:]
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return len(name) <= 64 &&
		!strings.ContainsFunc(name, func(r rune) bool { return !IsNameChar(r) }) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// IsNameChar reports whether STS and IAM allow r in the names of sessions and
// roles.
func IsNameChar(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("_+=,.@-", r)
}
