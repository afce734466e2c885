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

// addAlias lets clients name a resource by an alias. No alias is used twice for
// resources of the same kind.
func (s *Server) addAlias(resource, alias string) error {
	if alias == "" {
		return nil
	}
	if err := checkAlias(alias); err != nil {
		return fmt.Errorf("%s: %w", resource, err)
	}
	key := aliasARN(resource, alias)
	if other, used := s.aliases[key]; used {
		return fmt.Errorf("%s and %s have the same alias %s", other, resource, alias)
	}
	s.aliases[key] = resource
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

// canonical returns the ARN with the ID of a resource that v names by ARN or by
// alias. It returns an unknown alias ARN unchanged.
func (s *Server) canonical(v string) string {
	if resource, ok := s.aliases[v]; ok {
		return resource
	}
	return v
}
