package emulator

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// The limits of the service model of IAM.
const (
	maxRoleName      = 64
	maxPolicyName    = 128
	maxUserName      = 128
	maxPath          = 512
	maxDescription   = 1000
	maxDocument      = 131_072
	minIAMARN        = 20
	maxIAMARN        = 2048
	maxItems         = 1000
	defaultItems     = 100
	defaultVersionID = "v1"
)

// An iamRequest reads the parameters of a request to IAM. The first error is that of the
// request.
type iamRequest struct {
	*queryRequest
	form       url.Values     // that are not read yet
	parameters map[string]any // that are read, for the event
	role       string         // the parameter RoleName, or ""
	policy     string         // the parameter PolicyArn, or ""
	err        error
}

func (r *iamRequest) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// memberName returns the name of a parameter in messages and events.
func memberName(parameter string) string { return strings.ToLower(parameter[:1]) + parameter[1:] }

// given returns a parameter, which may be empty, and reports whether the request has it.
func (r *iamRequest) given(name string) (value string, ok bool) {
	if !r.form.Has(name) {
		return "", false
	}
	value = r.form.Get(name)
	r.form.Del(name)
	r.parameters[memberName(name)] = clip(value)
	return value, true
}

// A check returns the error of a parameter with a value.
type check func(name, value string) error

// optional returns a parameter, or the fallback if the request does not have it.
func (r *iamRequest) optional(name, fallback string, check check) string {
	value, ok := r.given(name)
	if !ok {
		return fallback
	}
	if err := check(memberName(name), value); err != nil {
		r.fail(err)
	}
	return value
}

func (r *iamRequest) required(name string, check check) string {
	if !r.form.Has(name) {
		r.fail(invalid(memberName(name), "Member must not be null"))
	}
	return r.optional(name, "", check)
}

func (r *iamRequest) number(name string, fallback, low, high int) int {
	text, ok := r.given(name)
	if !ok {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		r.fail(invalid(memberName(name), fmt.Sprintf("Member must have value between %d and %d", low, high)))
	}
	return n
}

func (r *iamRequest) policyName() string { return r.required("PolicyName", nameOf(maxPolicyName)) }
func (r *iamRequest) path() string       { return r.optional("Path", "/", checkPath) }
func (r *iamRequest) pathPrefix() string { return r.optional("PathPrefix", "/", checkPathPrefix) }

func (r *iamRequest) roleName() string {
	r.role = r.required("RoleName", nameOf(maxRoleName))
	return r.role
}

func (r *iamRequest) policyARN() string {
	r.policy = r.required("PolicyArn", checkPolicyARN)
	return r.policy
}

// resources returns the role and the policy that the parameters name, if they exist.
func (r *iamRequest) resources(s *Server) (all []eventResource) {
	if role, ok := s.roleByName(s.account, r.role); ok {
		all = append(all, newEventResource(typeRole, role.ARN))
	}
	if _, ok := s.policies.get(r.policy); ok {
		all = append(all, newEventResource(typePolicy, r.policy))
	}
	return all
}

// maxSession returns the maximum duration of the sessions of a role. As the service model
// says, UpdateRole sets the default, too.
func (r *iamRequest) maxSession() int {
	return r.number("MaxSessionDuration", defaultDuration, defaultDuration, maxDuration)
}

// description returns the description, or nil if the request has none.
func (r *iamRequest) description() *string {
	if !r.form.Has("Description") {
		return nil
	}
	d := r.optional("Description", "", checkDescription)
	return &d
}

func (r *iamRequest) tags() map[string]string {
	tags, err := takeTags(r.form, codeIAMInput)
	if err != nil {
		r.fail(err)
	}
	if len(tags) > 0 {
		r.parameters["tags"] = tags
	}
	return tags
}

func (r *iamRequest) tagKeys() (keys []string) {
	for i := 1; ; i++ {
		name := "TagKeys.member." + strconv.Itoa(i)
		key := r.form.Get(name)
		if key == "" {
			if len(keys) > 0 {
				r.parameters["tagKeys"] = keys
			}
			return keys
		}
		switch {
		case i > maxTags:
			r.fail(invalid("tagKeys", fmt.Sprintf("Member must have length less than or equal to %d", maxTags)))
			return nil
		case !trustpolicy.IsTagKey(key):
			r.fail(invalid(fmt.Sprintf("tagKeys.%d.member", i), `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`))
			return nil
		}
		r.form.Del(name)
		keys = append(keys, key)
	}
}

func length(name, value string, limit int) error {
	if utf8.RuneCountInString(value) > limit {
		return invalid(name, fmt.Sprintf("Member must have length less than or equal to %d", limit))
	}
	return nil
}

// nameOf checks names with at most limit characters.
func nameOf(limit int) check {
	return func(name, value string) error {
		if !isWord(value) {
			return refuse(codeSTSValidation, msgIAMName, name)
		}
		return length(name, value, limit)
	}
}

// checkPath checks the path of a role or policy. AWS also allows other ASCII characters in
// paths of roles.
func checkPath(name, value string) error {
	inner, ok := strings.CutSuffix(value, "/")
	for i, element := range strings.Split(inner, "/") {
		ok = ok && (i == 0 && element == "" || i > 0 && isWord(element))
	}
	if !ok {
		return refuse(codeSTSValidation, msgIAMPath, name)
	}
	return length(name, value, maxPath)
}

func checkPathPrefix(name, value string) error {
	if !strings.HasPrefix(value, "/") || strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > 0x7f }) {
		return invalid(name, `Member must satisfy regular expression pattern: \u002F[\u0021-\u007F]*`)
	}
	return length(name, value, maxPath)
}

// checkText checks descriptions and documents.
func checkText(name, value string, limit int) error {
	for _, c := range value {
		if c != '\t' && c != '\n' && c != '\r' && (c < ' ' || c > 0xff) {
			return invalid(name, `Member must satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]*`)
		}
	}
	return length(name, value, limit)
}

func checkDescription(name, value string) error { return checkText(name, value, maxDescription) }

func notEmpty(name, value string) error {
	if value == "" {
		return invalid(name, "Member must have length greater than or equal to 1")
	}
	return nil
}

func checkDocument(name, value string) error {
	return cmp.Or(notEmpty(name, value), checkText(name, value, maxDocument))
}

func checkPolicyARN(name, value string) error {
	if len(value) < minIAMARN || len(value) > maxIAMARN {
		return invalid(name, fmt.Sprintf("Member must have length between %d and %d", minIAMARN, maxIAMARN))
	}
	if !isPolicyARN(value) || !isPrintable(value) {
		return refuse(codeIAMInput, msgIAMARN, clip(value))
	}
	return nil
}

// isPrintable reports whether s consists of the visible characters of ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// A paging is the part of a list that a request asks for.
type paging struct {
	list   string
	size   int
	marker string
}

// A pageOutput is the part of a list's response that says whether there is more.
type pageOutput struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// page reads the parameters of a page. list identifies the list in markers.
func (r *iamRequest) page(list string) paging {
	p := paging{list: list, size: r.number("MaxItems", defaultItems, 1, maxItems)}
	p.marker = r.optional("Marker", "", notEmpty)
	return p
}

// slice returns a page of numbered items.
func (p paging) slice(s *Server, numbers []uint64) (from, to int, out pageOutput, err error) {
	from, to, out.Marker, err = s.slicePage("iam "+p.list, numbers, p.size, p.marker, codeSTSValidation)
	out.IsTruncated = out.Marker != ""
	return from, to, out, err
}

// sliceOf returns a page of a list within a role or policy. Its markers count the items:
// such lists are short, and clients read them at once.
func sliceOf[T any](s *Server, p paging, all []T) (members[T], pageOutput, error) {
	numbers := make([]uint64, len(all))
	for i := range numbers {
		numbers[i] = uint64(i)
	}
	from, to, out, err := p.slice(s, numbers)
	return all[from:to], out, err
}
