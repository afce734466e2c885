package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/boundedtoml"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

// Limits of a mapping file.
const (
	maxMapping = 1 << 20 // bytes
	maxPods    = 10_000

	// parseTime is for a node that gives the agent a small part of a processor: the
	// largest mapping takes half a second of one.
	parseTime = time.Minute
)

// An entry is a [[pod]] of the mapping file: the role of a service account.
type entry struct {
	Namespace       string `toml:"namespace"`
	ServiceAccount  string `toml:"service_account"`
	RoleARN         string `toml:"role_arn"`
	SessionDuration int    `toml:"session_duration"` // seconds; 0: one hour, or that of the profile with Direct
	ExternalID      string `toml:"external_id"`
	TagPod          bool   `toml:"tag_pod"` // tags with the pod's name and UID, so credentials of its own
	Direct          bool   `toml:"direct"`  // CreateSession instead of AssumeRole
	ProfileARN      string `toml:"profile_arn"`
}

// A mapping has the entries of a file by namespace and service account. It is not
// changed after parseMapping.
type mapping map[[2]string]keyedEntry

// A keyedEntry is an entry and its key, which takes longer to make than a response.
type keyedEntry struct {
	entry
	grantKey string
}

// of returns the entry of a pod.
func (m mapping) of(pod podidentity.Pod) (keyedEntry, bool) {
	e, ok := m[[2]string{pod.Namespace, pod.ServiceAccount}]
	return e, ok
}

// keys returns the Keys of all entries; see entry.key.
func (m mapping) keys() map[string]bool {
	keys := make(map[string]bool, len(m))
	for _, e := range m {
		keys[e.grantKey] = true
	}
	return keys
}

// key returns a text that is the same for entries with the same credentials. Those of
// an entry with TagPod are also different for each pod. 128 bits of the hash are enough
// even if somebody else chooses the external IDs.
func (e entry) key() string {
	if e.Direct { // a session without tags, so that service accounts can share it
		e.Namespace, e.ServiceAccount = "", ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", e.fields()))
	return e.RoleARN + "#" + hex.EncodeToString(sum[:16])
}

func (e entry) fields() []string {
	var all []string
	for _, f := range reflect.ValueOf(e).Fields() {
		all = append(all, fmt.Sprint(f))
	}
	return all
}

// parseMapping parses a mapping file. check checks what depends on other settings.
func parseMapping(ctx context.Context, data []byte, check func(entry) error) (mapping, error) {
	type document struct {
		Pods []entry `toml:"pod"`
	}
	if len(data) > maxMapping {
		return nil, fmt.Errorf("is larger than %d bytes", maxMapping)
	}
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	doc, unknown, err := boundedtoml.DecodeWithin[document](ctx, parseTime, string(data))
	if err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		return nil, unknownKey(unknown[0])
	}
	if len(doc.Pods) > maxPods {
		return nil, fmt.Errorf("has %d entries; at most %d are allowed", len(doc.Pods), maxPods)
	}
	m := make(mapping, len(doc.Pods))
	for i, e := range doc.Pods {
		err := e.check()
		if _, twice := m[[2]string{e.Namespace, e.ServiceAccount}]; err == nil && twice {
			err = errors.New("there are two entries for this service account")
		}
		if err == nil {
			err = check(e)
		}
		if err != nil {
			// The hints of the libraries name flags, which this file does not have.
			return nil, fmt.Errorf("pod %d (%s/%s): %s", i+1, keystore.Excerpt(e.Namespace), keystore.Excerpt(e.ServiceAccount), err.Error())
		}
		m[[2]string{e.Namespace, e.ServiceAccount}] = keyedEntry{e, e.key()}
	}
	return m, nil
}

func unknownKey(key toml.Key) error {
	parts := make(toml.Key, len(key))
	for i, part := range key {
		parts[i] = keystore.Excerpt(part)
	}
	known := []string{"pod"}
	if len(key) > 1 {
		for _, f := range reflect.VisibleFields(reflect.TypeFor[entry]()) {
			known = append(known, f.Tag.Get("toml"))
		}
	}
	err := fmt.Errorf("unknown key %s", parts)
	if meant := front.Similar(key[len(key)-1], known...); meant != "" {
		err = signer.WithHint(err, "did you mean "+meant+"? docs/agent.md lists the keys")
	}
	return err
}

// check checks what does not depend on other settings.
func (e entry) check() error {
	longest := assume.MaxDuration
	if e.Direct {
		longest = rolesanywhere.MaxDuration
	}
	duration := time.Duration(e.SessionDuration) * time.Second
	switch {
	case e.Namespace == "":
		return errors.New("namespace is not set")
	case e.ServiceAccount == "":
		return errors.New("service_account is not set")
	case e.RoleARN == "":
		return errors.New("role_arn is not set")
	case !isLabel(e.Namespace):
		return errors.New("namespace is not the name of a namespace: 1 to 63 lower-case letters, digits and hyphens")
	case !isSubdomain(e.ServiceAccount):
		return errors.New("service_account is not the name of a service account: 1 to 253 lower-case letters, digits, hyphens and dots")
	case !isRoleARN(e.RoleARN):
		return errors.New("role_arn is not of the form arn:aws:iam::ACCOUNT:role/NAME")
	case e.SessionDuration != 0 && (duration < assume.MinDuration || duration > longest):
		return fmt.Errorf("session_duration %d is not between %d and %d seconds", e.SessionDuration, assume.MinDuration/time.Second, longest/time.Second)
	case e.Direct && e.TagPod:
		return errors.New("tag_pod and direct are both set, but a direct session has no tags")
	case e.Direct && e.ExternalID != "":
		return errors.New("external_id and direct are both set, but a direct session has no external ID")
	case !e.Direct && e.ProfileARN != "":
		return errors.New("profile_arn is set without direct")
	}
	return nil
}

// isLabel reports whether s is a label of RFC 1123, as the names of namespaces are.
func isLabel(s string) bool { return len(s) <= 63 && isAlphanumeric(s, "-") }

// isSubdomain reports whether s is a subdomain of RFC 1123, as the names of service
// accounts are.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isAlphanumeric(part, "-") {
			return false
		}
	}
	return true
}

// isAlphanumeric reports whether s consists of lower-case letters and digits, and
// between these also of the characters in inner.
func isAlphanumeric(s, inner string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && i < len(s)-1 && strings.IndexByte(inner, c) >= 0) {
			return false
		}
	}
	return s != ""
}

// isRoleARN reports whether s can be the ARN of a role. check has more rules.
func isRoleARN(s string) bool {
	parts := strings.SplitN(s, ":", 6)
	return len(parts) == 6 && parts[0] == "arn" && parts[2] == "iam" && strings.HasPrefix(parts[5], "role/")
}

// maxDepth is the maximum number of brackets around a value and of dots in a key or
// value outside of quotes. A mapping needs two.
const maxDepth = 8

// checkDepth refuses nested tables and arrays, and keys with many dots, for which the
// decoder needs much time or memory. It also refuses texts of several lines.
func checkDepth(data []byte) error {
	line, depth, dots := 1, 0, 0
	var quote byte // 0: outside of quotes
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case c == '\n':
			line, dots, quote = line+1, 0, 0
		case quote == '#':
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
				if i < len(data) && data[i] == '\n' {
					i-- // the line ends
				}
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			if i+2 < len(data) && data[i+1] == c && data[i+2] == c {
				return fmt.Errorf("line %d: texts of several lines are not allowed", line)
			}
			quote = c
		case c == '#':
			quote = c
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == '.':
			dots++
		case c == '=' || c == ',':
			dots = 0
		}
		if depth > maxDepth || dots > maxDepth {
			return fmt.Errorf("line %d: too many nested tables, arrays or keys with dots", line)
		}
	}
	return nil
}
