package emulator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// Limits of the attribute mapping. The service model limits the specifier; the number of
// rules is the emulator's own limit, above the number of all specifiers of a field.
const (
	maxSpecifier    = 60
	maxMappingRules = 50
)

func certificateFields() []string { return slices.Sorted(maps.Keys(trustpolicy.DefaultMapping())) }

// defaultMappings are the attribute mappings of a new profile.
func defaultMappings() []attributeMapping {
	byField := trustpolicy.DefaultMapping()
	all := make([]attributeMapping, 0, len(byField))
	for _, field := range certificateFields() {
		all = append(all, attributeMapping{field, addRules(nil, byField[field])})
	}
	return all
}

// mapping returns the mapping of the profile as package trustpolicy uses it.
func (p *profile) mapping() trustpolicy.Mapping {
	m := make(trustpolicy.Mapping)
	for _, a := range p.Mappings {
		for _, rule := range a.Rules {
			m[a.Field] = append(m[a.Field], rule.Specifier)
		}
	}
	return m
}

// rules returns the rules of a field.
func (p *profile) rules(field string) []mappingRule {
	for _, a := range p.Mappings {
		if a.Field == field {
			return a.Rules
		}
	}
	return nil
}

// withRules returns a copy of p that has other rules of a field, in the order of the
// fields. Without rules the field has no mapping.
func (p *profile) withRules(c *controlRequest, field string, rules []mappingRule) *profile {
	q := p.with(func(r *resource) { r.Updated = c.now })
	q.Mappings = slices.DeleteFunc(slices.Clone(p.Mappings), func(a attributeMapping) bool { return a.Field == field })
	if len(rules) > 0 {
		q.Mappings = append(q.Mappings, attributeMapping{field, rules})
	}
	slices.SortFunc(q.Mappings, func(a, b attributeMapping) int { return cmp.Compare(a.Field, b.Field) })
	return q
}

// addRules returns rules with the specifiers that it does not have yet.
func addRules(rules []mappingRule, specifiers []string) []mappingRule {
	all := slices.Clone(rules)
	for _, s := range specifiers {
		if !slices.Contains(all, mappingRule{s}) {
			all = append(all, mappingRule{s})
		}
	}
	return all
}

// putAttributeMapping adds rules to those of a field. The user guide says that new rules
// are attached and added, but not how they combine with the default rule: here * stays,
// and maps every attribute, until it is deleted.
func (s *Server) putAttributeMapping(c *controlRequest) (any, error) {
	var in struct {
		Field string        `json:"certificateField"`
		Rules []mappingRule `json:"mappingRules"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	if err := oneOf("certificateField", in.Field, certificateFields()); err != nil {
		return nil, err
	}
	if in.Rules == nil {
		return nil, missing("mappingRules")
	}
	if len(in.Rules) > maxMappingRules {
		return nil, tooLong("mappingRules", maxMappingRules)
	}
	var specifiers []string
	for _, rule := range in.Rules {
		if len(rule.Specifier) > maxSpecifier {
			return nil, tooLong("mappingRules.specifier", maxSpecifier)
		}
		if !trustpolicy.IsSpecifier(in.Field, rule.Specifier) {
			return nil, refuse(codeValidation, msgParameter, "mappingRules", fmt.Sprintf("the emulator knows no specifier %q of %s", rule.Specifier, in.Field))
		}
		specifiers = append(specifiers, rule.Specifier)
	}
	return profileKind.change(s, c, c.id, func(_ *changes, p *profile) (*profile, error) {
		return p.withRules(c, in.Field, addRules(p.rules(in.Field), specifiers)), nil
	})
}

// deleteAttributeMapping deletes rules of a field: those with the specifiers, or all of
// them if none is given. Users report the latter; the documentation says only that the
// specifiers are optional. A specifier without a rule is ignored, because the service
// model calls the operation idempotent.
func (s *Server) deleteAttributeMapping(c *controlRequest) (any, error) {
	field, err := c.queryValue("certificateField")
	if err != nil {
		return nil, err
	}
	specifiers := c.query["specifiers"]
	if len(specifiers) > 0 {
		c.record("specifiers", specifiers)
	}
	if err := oneOf("certificateField", field, certificateFields()); err != nil {
		return nil, err
	}
	return profileKind.change(s, c, c.id, func(_ *changes, p *profile) (*profile, error) {
		rules := slices.DeleteFunc(slices.Clone(p.rules(field)), func(r mappingRule) bool {
			return len(specifiers) == 0 || slices.Contains(specifiers, r.Specifier)
		})
		return p.withRules(c, field, rules), nil
	})
}
