package emulator

import "github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"

// defaultMappings are the attribute mappings of a new profile.
//
// Source: IAM Roles Anywhere User Guide, "Certificate attribute mapping".
func defaultMappings() []attributeMapping {
	return []attributeMapping{
		{trustpolicy.Issuer, []mappingRule{{"*"}}},
		{trustpolicy.SAN, []mappingRule{{"DNS"}, {"URI"}, {"Name/*"}}},
		{trustpolicy.Subject, []mappingRule{{"*"}}},
	}
}

func (s *Server) putAttributeMapping(c *controlRequest) (any, error) {
	return nil, refuse(codeUnknown, "TODO")
}

func (s *Server) deleteAttributeMapping(c *controlRequest) (any, error) {
	return nil, refuse(codeUnknown, "TODO")
}
