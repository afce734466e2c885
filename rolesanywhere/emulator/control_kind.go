package emulator

import (
	"strings"
	"time"
)

// An item is a resource that the control plane manages.
type item[T any] interface {
	common() resource
	with(func(*resource)) T // a copy with changes
}

// A kind is what the operations on resources of one kind have in common.
type kind[T item[T]] struct {
	name   string // in ARNs
	member string // in responses; a list has an s at the end
	rows   func(*Server) *table[T]
	detail func(*Server, T) any
}

var (
	anchorKind  = kind[*anchor]{"trust-anchor", "trustAnchor", func(s *Server) *table[*anchor] { return &s.anchors }, (*Server).anchorDetail}
	profileKind = kind[*profile]{"profile", "profile", func(s *Server) *table[*profile] { return &s.profiles }, (*Server).profileDetail}
	crlKind     = kind[*crl]{"crl", "crl", func(s *Server) *table[*crl] { return &s.crls }, (*Server).crlDetail}
	subjectKind = kind[*subject]{"subject", "subject", func(s *Server) *table[*subject] { return &s.subjects }, (*Server).subjectDetail}
)

// A detail is the common part of a resource in a response.
type detail struct {
	AliasARN          string `json:"aliasArn,omitempty"`
	AliasName         string `json:"aliasName,omitempty"`
	CreatedAt         string `json:"createdAt"`
	Enabled           bool   `json:"enabled"`
	Name              string `json:"name"`
	PreviousAliasName string `json:"previousAliasName,omitempty"` // of an update
	UpdatedAt         string `json:"updatedAt"`
}

func (r resource) detail() detail {
	return detail{
		AliasARN: r.aliasARN(), AliasName: r.Alias, Enabled: r.Enabled, Name: r.Name, PreviousAliasName: r.previousAlias,
		CreatedAt: r.Created.Format(time.RFC3339), UpdatedAt: r.Updated.Format(time.RFC3339),
	}
}

// find returns the resource that a parameter names by its ID, its ARN or its alias ARN.
// The caller holds s.mu. The ARN must be of the account and the region; the error for
// others is not documented, and is the same as for an unknown resource.
func (k kind[T]) find(s *Server, name string) (T, error) {
	if !strings.HasPrefix(name, "arn:") {
		name = regionalARN(s.region, s.account, k.name+"/"+name)
	}
	v, ok := find(k.rows(s), name)
	switch err := checkResourceARN(name, k.name); {
	case ok && v.common().account() == s.account:
		return v, nil
	case err != nil:
		return v, refuse(codeValidation, msgParameter, k.member+"Id", err)
	}
	return v, refuse(codeNotFound, msgNotFound, name)
}

func (k kind[T]) output(s *Server, v T) any { return map[string]any{k.member: k.detail(s, v)} }

func (k kind[T]) get(s *Server, c *controlRequest) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, err := k.find(s, c.id)
	if err != nil {
		return nil, err
	}
	return k.output(s, v), nil
}

func (k kind[T]) list(s *Server, c *controlRequest) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := k.rows(s)
	own := make([]T, 0, len(t.keys)) // of the account of the administrator
	numbers := make([]uint64, 0, len(t.keys))
	for key, v := range t.all() {
		if v.common().account() == s.account {
			own, numbers = append(own, v), append(numbers, t.rows[key].Number)
		}
	}
	from, to, next, err := c.page(s, t.name, numbers)
	if err != nil {
		return nil, err
	}
	all := make([]any, 0, to-from)
	for _, v := range own[from:to] {
		d := k.detail(s, v)
		if summary, ok := d.(subjectDetail); ok {
			d = summary.subjectSummary
		}
		all = append(all, d)
	}
	out := map[string]any{k.member + "s": all}
	if next != "" {
		out["nextToken"] = next
	}
	return out, nil
}

// change replaces the resource that a request names with the result of f.
func (k kind[T]) change(s *Server, c *controlRequest, name string, f func(*changes, T) (T, error)) (any, error) {
	return s.changeWith(c.ev, func(ch *changes) (any, error) {
		v, err := k.find(s, name)
		if err != nil {
			return nil, err
		}
		if v, err = f(ch, v); err != nil {
			return nil, err
		}
		k.rows(s).put(ch, v.common().ARN, v.with(func(r *resource) {
			r.previousAlias = ""
			r.edit()
		}))
		return k.output(s, v), nil
	})
}

func (k kind[T]) setEnabled(s *Server, c *controlRequest, enabled bool) (any, error) {
	return k.change(s, c, c.id, func(_ *changes, v T) (T, error) {
		return v.with(func(r *resource) { r.Enabled, r.Updated = enabled, c.now }), nil
	})
}

func (k kind[T]) enable(s *Server, c *controlRequest) (any, error)  { return k.setEnabled(s, c, true) }
func (k kind[T]) disable(s *Server, c *controlRequest) (any, error) { return k.setEnabled(s, c, false) }

func (k kind[T]) remove(s *Server, c *controlRequest) (any, error) {
	return s.changeWith(c.ev, func(ch *changes) (any, error) {
		v, err := k.find(s, c.id)
		if err != nil {
			return nil, err
		}
		k.rows(s).remove(ch, v.common().ARN)
		return k.output(s, v), nil
	})
}

// create adds a resource. quota is the number of resources of the kind that the service
// allows.
func (k kind[T]) create(s *Server, c *controlRequest, v T, quota int) (any, error) {
	return s.changeWith(c.ev, func(ch *changes) (any, error) {
		t := k.rows(s)
		if len(t.keys) >= quota {
			return nil, refuse(codeValidation, msgQuota, quota, k.member+"s")
		}
		if err := k.checkAlias(s, v.common()); err != nil {
			return nil, err
		}
		t.put(ch, v.common().ARN, v)
		return k.output(s, v), nil
	})
}

func (k kind[T]) checkAlias(s *Server, r resource) error {
	if err := checkNewAlias(k.rows(s), r); err != nil {
		return refuse(codeValidation, msgParameter, "aliasName", err)
	}
	return nil
}

// newResource returns the common part of a resource that a request creates.
func (s *Server) newResource(c *controlRequest, kind, name, alias string, enabled bool, tags []tag) (resource, error) {
	r := resource{
		ARN: regionalARN(s.region, s.account, kind+"/"+newUUID()), Name: name, Alias: alias, Enabled: enabled,
		Created: c.now, Updated: c.now,
	}
	if err := checkName(name); err != nil {
		return r, err
	}
	var err error
	r.Tags, err = addTags(nil, tags)
	return r, err
}

// update changes the name and the alias of a resource; nil leaves them as they are, and
// an empty alias removes it.
func (r *resource) update(c *controlRequest, name, alias *string) error {
	r.Updated = c.now
	if name != nil {
		if err := checkName(*name); err != nil {
			return err
		}
		r.Name = *name
	}
	if alias != nil && *alias != r.Alias {
		r.previousAlias, r.Alias = r.Alias, *alias
	}
	return nil
}
