package emulator

import (
	"fmt"
	"strings"
)

// maxAlias is the maximum length of an alias in the service model.
const maxAlias = 256

// aliasARN returns the alias ARN of a resource that has the given ARN: its last
// part is alias/KIND/ALIAS instead of KIND/ID.
func aliasARN(resource, alias string) string {
	head, kind := resource[:strings.LastIndex(resource, ":")+1], resource[strings.LastIndex(resource, ":")+1:]
	kind, _, _ = strings.Cut(kind, "/")
	return head + "alias/" + kind + "/" + alias
}

// checkNewAlias checks the alias of a resource, if it has one. No alias is used twice
// for resources of the same kind.
func checkNewAlias[T interface{ common() resource }](t *table[T], r resource) error {
	if r.Alias == "" {
		return nil
	}
	if err := checkAlias(r.Alias); err != nil {
		return fmt.Errorf("%s: %w", r.ARN, err)
	}
	if other := findByAlias(t, r.aliasARN()); other != "" && other != r.ARN {
		return fmt.Errorf("%s and %s have the same alias %s", other, r.ARN, r.Alias)
	}
	return nil
}

// checkAlias checks the rules for aliasName in CreateTrustAnchor and
// CreateProfile.
func checkAlias(alias string) error {
	letter := func(c rune) bool { return isLower(c) || 'A' <= c && c <= 'Z' }
	allowed := func(c rune) bool { return letter(c) || isDigit(c) || c == '_' || c == '-' || c == '/' }
	switch {
	case alias == "" || len(alias) > maxAlias:
		return fmt.Errorf("alias has %d characters; 1 to %d are allowed", len(alias), maxAlias)
	case !consistsOf(alias, allowed) || !letter(rune(alias[0])):
		return fmt.Errorf("alias %q does not begin with a letter or has a character other than letters, digits, _, - and /", alias)
	case strings.HasSuffix(alias, "/") || strings.Contains(alias, "//"):
		return fmt.Errorf("alias %q has a slash at its end or two in a row", alias)
	case strings.HasPrefix(strings.ToLower(alias), "aws/"):
		return fmt.Errorf("alias %q begins with aws/, which is reserved", alias)
	}
	return nil
}

// checkResourceARN checks the ARN of a resource in a request. Except for a role,
// it may be an alias ARN.
func checkResourceARN(v, kind string) error {
	head, alias, ok := strings.Cut(v, ":alias/"+kind+"/")
	if !ok || kind == "role" {
		_, err := parseARN(v, kind)
		return err
	}
	if err := checkAlias(alias); err != nil {
		return err
	}
	if len(v) > maxARN {
		return fmt.Errorf("ARN has %d bytes; at most %d are allowed", len(v), maxARN)
	}
	_, err := parseARN(head+":"+kind+"/alias", kind)
	return err
}
