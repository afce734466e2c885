package emulator

import "encoding/pem"

// maxCRLs limits the CRLs of an account. The emulator keeps the CRLs of a trust anchor
// that is deleted, because the documentation of DeleteTrustAnchor does not mention them;
// they have no effect.
const maxCRLs = maxAnchors * maxAnchorCRLs

type crlDetail struct {
	detail
	ARN            string `json:"crlArn"`
	Data           []byte `json:"crlData"`
	ID             string `json:"crlId"`
	TrustAnchorARN string `json:"trustAnchorArn"`
}

func (s *Server) crlDetail(c *crl) any {
	return crlDetail{detail: c.detail(), ARN: c.ARN, Data: c.Data, ID: c.id(), TrustAnchorARN: c.TrustAnchorARN}
}

func (c *crl) with(f func(*resource)) *crl {
	d := *c
	f(&d.resource)
	return &d
}

// setData checks the list of c and takes it.
func (c *crl) setData(data []byte) error {
	if len(data) == 0 {
		return missing("crlData")
	}
	if block, _ := pem.Decode(data); block == nil { // ImportCrl requires it; a Config may have DER too
		return refuse(codeValidation, msgParameter, "crlData", "is not PEM")
	}
	c.Data = data
	if err := c.parse(); err != nil {
		return refuse(codeValidation, msgParameter, "crlData", err)
	}
	return nil
}

func (s *Server) importCRL(c *controlRequest) (any, error) {
	var in struct {
		Name           string `json:"name"`
		Data           []byte `json:"crlData"`
		TrustAnchorARN string `json:"trustAnchorArn"`
		Alias          string `json:"aliasName"`
		Enabled        bool   `json:"enabled"`
		Tags           []tag  `json:"tags"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	r, err := s.newResource(c, "crl", in.Name, in.Alias, in.Enabled, in.Tags)
	if err != nil {
		return nil, err
	}
	list := &crl{resource: r, TrustAnchorARN: in.TrustAnchorARN}
	if err := list.setData(in.Data); err != nil {
		return nil, err
	}
	if in.TrustAnchorARN == "" {
		return nil, missing("trustAnchorArn")
	}
	if err := checkResourceARN(in.TrustAnchorARN, "trust-anchor"); err != nil {
		return nil, refuse(codeValidation, msgParameter, "trustAnchorArn", err)
	}
	return s.changeWith(c.ev, func(ch *changes) (any, error) {
		// An alias ARN is not found either.
		if a, ok := s.anchors.get(in.TrustAnchorARN); !ok || a.account() != s.account {
			return nil, refuse(codeNotFound, msgNotFound, in.TrustAnchorARN)
		}
		if len(s.crls.keys) >= maxCRLs {
			return nil, refuse(codeValidation, msgQuota, maxCRLs, "CRLs, with those of deleted trust anchors,")
		}
		n := 0
		for _, other := range s.crls.all() {
			if other.TrustAnchorARN == in.TrustAnchorARN {
				n++
			}
		}
		if n >= maxAnchorCRLs {
			return nil, refuse(codeValidation, msgQuota, maxAnchorCRLs, "CRLs of a trust anchor")
		}
		if err := crlKind.checkAlias(s, list.resource); err != nil {
			return nil, err
		}
		s.crls.put(ch, list.ARN, list)
		return crlKind.output(s, list), nil
	})
}

func (s *Server) updateCRL(c *controlRequest) (any, error) {
	var in struct {
		Name  *string `json:"name"`
		Data  []byte  `json:"crlData"`
		Alias *string `json:"aliasName"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	return crlKind.change(s, c, c.id, func(_ *changes, old *crl) (*crl, error) {
		list := old.with(func(*resource) {})
		if in.Data != nil {
			if err := list.setData(in.Data); err != nil {
				return nil, err
			}
		}
		if err := list.update(c, in.Name, in.Alias); err != nil {
			return nil, err
		}
		return list, crlKind.checkAlias(s, list.resource)
	})
}
