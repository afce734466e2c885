package spiffe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A config is what a reference says, completed by the environment.
type config struct {
	endpoint endpoint
	socket   string // the attribute; "": the environment named the endpoint
	id, hint string // "": any
}

// idPrefix begins a SPIFFE ID (SPIFFE-ID, section 2).
const idPrefix = scheme + "://"

// parseRef returns the attributes of a reference. The short form spiffe://DOMAIN/PATH
// stands for spiffe:id=spiffe://DOMAIN/PATH.
func parseRef(ref keystore.Ref) (map[string]string, error) {
	rest := ref.Rest
	if strings.HasPrefix(rest, "//") {
		rest = "id=" + scheme + ":" + rest
	}
	if rest == "" {
		return nil, nil
	}
	return keystore.ParseAttributes(rest, "socket", "id", "hint")
}

// configFor returns the config of a reference.
func configFor(ref keystore.Ref, call keystore.Call) (cfg config, err error) {
	a, err := parseRef(ref)
	if err == nil && a["id"] != "" {
		if err = checkID(a["id"]); err != nil {
			err = signer.WithHint(fmt.Errorf("attribute \"id\": %w", err), "write the SPIFFE ID of the workload, such as spiffe://example.org/app")
		}
	}
	cfg = config{socket: a["socket"], id: a["id"], hint: a["hint"]}
	if err == nil && cfg.socket != "" {
		if cfg.endpoint, err = endpointOf(cfg.socket); err != nil {
			err = signer.WithHint(fmt.Errorf("attribute \"socket\": %w", err), "write the path of the socket of the agent, such as socket=/run/spire/agent/public/api.sock")
		}
	}
	switch {
	case err != nil:
		return config{}, &keystore.RefError{Ref: ref.String(), Err: err}
	case cfg.socket != "":
		return cfg, nil
	}
	cfg.endpoint, err = endpointFrom(call)
	return cfg, err
}

// reference returns the reference of all[i]. It has the hint only if the ID alone selects
// another SVID, because an operator can change the hint of a workload.
func (c config) reference(all svids, i int) keystore.Ref {
	ref := keystore.Ref{Scheme: scheme, Rest: strings.TrimPrefix(all[i].id, scheme+":")}
	for _, other := range all[:i] {
		if other.id == all[i].id && all[i].hint != "" {
			ref.Rest += ";" + keystore.FormatAttribute("hint", all[i].hint)
			break
		}
	}
	if c.socket != "" {
		ref.Rest += ";" + keystore.FormatAttribute("socket", c.socket)
	}
	return ref
}

// maxID bounds a SPIFFE ID, in bytes (SPIFFE-ID, section 2.3), and maxDomain its trust
// domain.
const (
	maxID     = 2048
	maxDomain = 255
)

// checkID returns an error if id is not the SPIFFE ID of a workload: of a trust domain
// and a path (SPIFFE-ID, sections 2.1 and 2.2; X509-SVID, section 3.1).
func checkID(id string) error {
	rest, ok := strings.CutPrefix(id, idPrefix)
	domain, path, hasPath := strings.Cut(rest, "/")
	switch {
	case len(id) > maxID:
		return fmt.Errorf("is longer than %d bytes", maxID)
	case !ok:
		return errors.New("does not begin with " + idPrefix)
	case domain == "" || len(domain) > maxDomain:
		return fmt.Errorf("has a trust domain of %d characters, not of 1 to %d", len(domain), maxDomain)
	case strings.ContainsFunc(domain, func(r rune) bool { return !inName(r) || 'A' <= r && r <= 'Z' }):
		return errors.New("has a trust domain with a character other than a-z, 0-9, dot, dash and underscore")
	case !hasPath:
		return errors.New("has no path, so it is that of a trust domain and not of a workload")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
			return errors.New("has an empty part in its path")
		case segment == "." || segment == "..":
			return errors.New("has . or .. in its path")
		case strings.ContainsFunc(segment, func(r rune) bool { return !inName(r) }):
			return errors.New("has a path with a character other than letters, digits, dot, dash and underscore")
		}
	}
	return nil
}

// inName reports whether a part of a path can contain r.
func inName(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r)
}
