package emulator

import (
	"fmt"
	"strings"
)

// maxARN is the maximum length of the three ARN parameters in the service
// model.
const maxARN = 1011

type arn struct {
	partition, region, account string
	name                       string // the last element of the path
}

// parseARN parses the ARN of a kind of resource: role, profile or trust-anchor.
func parseARN(s, kind string) (arn, error) {
	if len(s) > maxARN {
		return arn{}, fmt.Errorf("ARN has %d bytes; at most %d are allowed", len(s), maxARN)
	}
	service, hasRegion := "rolesanywhere", true
	if kind == "role" {
		service, hasRegion = "iam", false
	}
	parts := strings.SplitN(s, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || parts[2] != service || !isPartition(parts[1]) ||
		hasRegion != isRegion(parts[3]) || !hasRegion && parts[3] != "" || !isAccount(parts[4]) {
		return arn{}, fmt.Errorf("%q is not the ARN of a %s", s, kind)
	}
	path := strings.Split(parts[5], "/")
	for _, element := range path {
		if !isWord(element) || path[0] != kind || len(path) < 2 {
			return arn{}, fmt.Errorf("%q is not the ARN of a %s", s, kind)
		}
	}
	return arn{partition: parts[1], region: parts[3], account: parts[4], name: path[len(path)-1]}, nil
}

// These checks use no regular expressions, because these would be compiled at
// each start of a program that imports this package.

func isPartition(s string) bool { return s == "aws" || strings.HasPrefix(s, "aws-") && isWord(s) }

// isRegion accepts words of letters separated by hyphens, with a number at the
// end.
func isRegion(s string) bool {
	parts := strings.Split(s, "-")
	last := len(parts) - 1
	for i, p := range parts {
		if i < last && !consistsOf(p, isLower) || i == last && !consistsOf(p, isDigit) {
			return false
		}
	}
	return last >= 2
}

func isAccount(s string) bool { return len(s) == 12 && consistsOf(s, isDigit) }

// isWord reports whether s has only characters that IAM and STS allow in the
// names of roles and sessions.
func isWord(s string) bool {
	return consistsOf(s, func(c rune) bool {
		return isLower(c) || 'A' <= c && c <= 'Z' || isDigit(c) || strings.ContainsRune("_+=,.@-", c)
	})
}

func isLower(c rune) bool { return 'a' <= c && c <= 'z' }
func isDigit(c rune) bool { return '0' <= c && c <= '9' }

func consistsOf(s string, class func(rune) bool) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !class(c) })
}
