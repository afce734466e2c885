package emulator

import "slices"

// A tag is one of a resource.
type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func tagList(tags map[string]string) []tag {
	all := make([]tag, 0, len(tags))
	for _, key := range sortedKeys(tags) {
		all = append(all, tag{key, tags[key]})
	}
	return all
}

func (s *Server) listTagsForResource(c *controlRequest) (any, error) {
	arn, err := c.queryValue("resourceArn")
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.tagged(arn)
	if err != nil {
		return nil, err
	}
	return map[string]any{"tags": tagList(r.Tags)}, nil
}

// tagged returns the resource with an ARN, which is not an alias ARN.
func (s *Server) tagged(arn string) (resource, error) {
	if arn == "" {
		return resource{}, missing("resourceArn")
	}
	if len(arn) > maxARN {
		return resource{}, tooLong("resourceArn", maxARN)
	}
	for _, get := range []func(string) (resource, bool){
		commonOf(&s.anchors), commonOf(&s.profiles), commonOf(&s.crls), commonOf(&s.subjects),
	} {
		if r, ok := get(arn); ok && r.account() == s.account {
			return r, nil
		}
	}
	return resource{}, refuse(codeNotFound, msgNotFound, arn)
}

// commonOf returns a function that returns the common part of the row with an ARN.
func commonOf[T item[T]](t *table[T]) func(string) (resource, bool) {
	return func(arn string) (r resource, ok bool) {
		v, ok := t.get(arn)
		if ok {
			r = v.common()
		}
		return r, ok
	}
}

// retag replaces the tags of the resource with an ARN by the result of f. It returns no
// response.
func (s *Server) retag(c *controlRequest, arn string, f func(map[string]string) (map[string]string, error)) (any, error) {
	return s.changeWith(c.ev, func(ch *changes) (any, error) {
		r, err := s.tagged(arn)
		if err != nil {
			return nil, err
		}
		tags, err := f(r.Tags)
		if err != nil {
			return nil, err
		}
		set := func(r *resource) {
			r.Tags = tags
			r.edit()
		}
		retagRow(ch, &s.anchors, arn, set)
		retagRow(ch, &s.profiles, arn, set)
		retagRow(ch, &s.crls, arn, set)
		retagRow(ch, &s.subjects, arn, set)
		return nil, nil
	})
}

func retagRow[T item[T]](ch *changes, t *table[T], arn string, set func(*resource)) {
	if v, ok := t.get(arn); ok {
		t.put(ch, arn, v.with(set))
	}
}

func (s *Server) tagResource(c *controlRequest) (any, error) {
	var in struct {
		ResourceARN string `json:"resourceArn"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	if in.Tags == nil {
		return nil, missing("tags")
	}
	return s.retag(c, in.ResourceARN, func(tags map[string]string) (map[string]string, error) { return addTags(tags, in.Tags) })
}

func (s *Server) untagResource(c *controlRequest) (any, error) {
	var in struct {
		ResourceARN string   `json:"resourceArn"`
		TagKeys     []string `json:"tagKeys"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	if in.TagKeys == nil {
		return nil, missing("tagKeys")
	}
	if len(in.TagKeys) > maxResourceTags {
		return nil, tooLong("tagKeys", maxResourceTags)
	}
	for _, key := range in.TagKeys {
		if err := checkTagKey(key); err != nil {
			return nil, err
		}
	}
	return s.retag(c, in.ResourceARN, func(tags map[string]string) (map[string]string, error) {
		kept := make(map[string]string)
		for key, value := range tags {
			if !slices.Contains(in.TagKeys, key) {
				kept[key] = value
			}
		}
		return kept, nil
	})
}
