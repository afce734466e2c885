package trustpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A token is one character of a pattern, a wildcard, or a policy variable.
type token struct {
	char     rune
	wildcard bool   // char is * or ?
	variable string // the key of a policy variable; char is 0
}

// A pattern is a value of a condition. The operator decides whether its
// wildcard characters are special. Characters from a variable are never
// wildcards.
type pattern []token

// parsePattern parses s. If variables is true, it parses policy variables such
// as ${aws:PrincipalTag/x509Subject/CN} and the escapes ${*}, ${?} and ${$}.
func parsePattern(s string, variables bool) (pattern, error) {
	if !variables {
		return literalGlob(s), nil
	}
	var p pattern
	for {
		before, rest, found := strings.Cut(s, "${")
		p = append(p, literalGlob(before)...)
		if !found {
			return p, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("policy variable has no closing brace")
		}
		if name == "*" || name == "?" || name == "$" {
			p = append(p, token{char: rune(name[0])})
		} else {
			key, err := parseKey(name)
			if err != nil {
				return nil, fmt.Errorf("policy variable: %w", err)
			}
			p = append(p, token{variable: key})
		}
		s = after
	}
}

func literalGlob(s string) pattern {
	p := make(pattern, 0, len(s))
	for _, c := range s {
		p = append(p, token{char: c, wildcard: c == '*' || c == '?'})
	}
	return p
}

// checkARN checks that p has the six parts of an ARN. It accepts any pattern
// with a variable, which may contain some of the parts.
func (p pattern) checkARN() error {
	colons := 0
	for _, t := range p {
		if t.variable != "" {
			return nil
		}
		if t.char == ':' {
			colons++
		}
	}
	if colons < 5 {
		return errors.New("ARN does not have six parts")
	}
	return nil
}

// resolve replaces variables with their values. It returns false if a variable
// does not have exactly one value.
func (p pattern) resolve(ctx Context) ([]token, bool) {
	var out []token
	for _, t := range p {
		if t.variable == "" {
			out = append(out, t)
			continue
		}
		values := ctx[t.variable]
		if len(values) != 1 {
			return nil, false
		}
		for _, c := range values[0] {
			out = append(out, token{char: c})
		}
	}
	return out, true
}

func text(p []token) string {
	var b strings.Builder
	for _, t := range p {
		b.WriteRune(t.char)
	}
	return b.String()
}

func matchExact(p []token, value string) bool { return text(p) == value }
func matchFold(p []token, value string) bool  { return strings.EqualFold(text(p), value) }
func matchLike(p []token, value string) bool  { return glob(p, []rune(value)) }

// matchARN compares the ARNs part by part, so that a * does not match a colon,
// except in the last part.
func matchARN(p []token, value string) bool {
	parts := strings.SplitN(value, ":", 6)
	if len(parts) < 6 {
		return false
	}
	for i, part := range parts {
		sub := p
		if i < 5 {
			colon := slices.IndexFunc(p, func(t token) bool { return t.char == ':' })
			if colon < 0 {
				return false
			}
			sub, p = p[:colon], p[colon+1:]
		}
		if !glob(sub, []rune(part)) {
			return false
		}
	}
	return true
}

// glob reports whether p matches s. * matches any number of characters, ?
// matches one. It backtracks only to the last *, so its time is at most
// proportional to len(p)*len(s).
func glob(p []token, s []rune) bool {
	i, j := 0, 0
	star, from := -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i].wildcard && p[i].char == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i].wildcard || p[i].char == s[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i].wildcard && p[i].char == '*' {
		i++
	}
	return i == len(p)
}
