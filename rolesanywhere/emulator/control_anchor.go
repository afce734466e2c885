package emulator

import (
	"encoding/pem"
	"errors"
)

// The quotas of an account in a region.
//
// Source: IAM Roles Anywhere User Guide, "Quotas".
const (
	maxAnchors  = 50
	maxProfiles = 250
)

type source struct {
	Type string      `json:"sourceType"`
	Data *sourceData `json:"sourceData"`
}

type sourceData struct {
	ACMPCAARN   string `json:"acmPcaArn,omitempty"`
	Certificate string `json:"x509CertificateData,omitempty"`
}

const (
	sourceBundle = "CERTIFICATE_BUNDLE"
	sourceACMPCA = "AWS_ACM_PCA"
)

type anchorDetail struct {
	detail
	CheckCRLDP    bool                  `json:"crlDpRevocationEnabled"`
	Notifications []notificationSetting `json:"notificationSettings"`
	Source        source                `json:"source"`
	ARN           string                `json:"trustAnchorArn"`
	ID            string                `json:"trustAnchorId"`
}

func (s *Server) anchorDetail(a *anchor) any {
	d := anchorDetail{
		detail: a.detail(), CheckCRLDP: a.CheckCRLDP, Notifications: a.notifications(), ARN: a.ARN, ID: a.id(),
		Source: source{sourceBundle, &sourceData{Certificate: a.Certificates}},
	}
	if a.PrivateCA != "" {
		d.Source = source{sourceACMPCA, &sourceData{ACMPCAARN: a.PrivateCA}}
	}
	return d
}

func (a *anchor) with(f func(*resource)) *anchor {
	b := *a
	f(&b.resource)
	return &b
}

// setSource checks the source of a trust anchor and takes its certificates.
func (s *Server) setSource(a *anchor, src *source) error {
	switch {
	case src == nil:
		return missing("source")
	case src.Data == nil:
		return missing("source.sourceData")
	case src.Type == sourceBundle && src.Data.ACMPCAARN == "":
		if src.Data.Certificate == "" {
			return missing("source.sourceData.x509CertificateData")
		}
		if len(src.Data.Certificate) > maxCertificates {
			return tooLong("source.sourceData.x509CertificateData", maxCertificates)
		}
		a.Certificates, a.PrivateCA = src.Data.Certificate, ""
	case src.Type == sourceACMPCA && src.Data.Certificate == "":
		if s.ca == nil || src.Data.ACMPCAARN != s.ca.arn {
			return refuse(codeNotFound, msgNotFound, clip(src.Data.ACMPCAARN))
		}
		a.Certificates = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.cert.Raw}))
		a.PrivateCA = s.ca.arn
	default:
		return refuse(codeValidation, msgParameter, "source", "is not a CERTIFICATE_BUNDLE with x509CertificateData or an AWS_ACM_PCA with acmPcaArn")
	}
	switch err := a.parse(); {
	case errors.Is(err, ErrBasicConstraints):
		return refuse(codeValidation, msgBasicConstraints).because(err)
	case err != nil:
		return refuse(codeValidation, msgParameter, "source.sourceData", err)
	}
	return nil
}

func (s *Server) createTrustAnchor(c *controlRequest) (any, error) {
	var in struct {
		Name          string              `json:"name"`
		Source        *source             `json:"source"`
		Alias         string              `json:"aliasName"`
		CheckCRLDP    bool                `json:"crlDpRevocationEnabled"`
		Enabled       bool                `json:"enabled"`
		Notifications []notificationInput `json:"notificationSettings"`
		Tags          []tag               `json:"tags"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	r, err := s.newResource(c, "trust-anchor", in.Name, in.Alias, in.Enabled, in.Tags)
	if err != nil {
		return nil, err
	}
	a := &anchor{resource: r, CheckCRLDP: in.CheckCRLDP}
	if err := s.setSource(a, in.Source); err != nil {
		return nil, err
	}
	if err := a.notify(in.Notifications); err != nil {
		return nil, err
	}
	return anchorKind.create(s, c, a, maxAnchors)
}

func (s *Server) updateTrustAnchor(c *controlRequest) (any, error) {
	var in struct {
		Name       *string `json:"name"`
		Source     *source `json:"source"`
		Alias      *string `json:"aliasName"`
		CheckCRLDP *bool   `json:"crlDpRevocationEnabled"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	return anchorKind.change(s, c, c.id, func(_ *changes, old *anchor) (*anchor, error) {
		a := old.with(func(*resource) {})
		if in.CheckCRLDP != nil {
			a.CheckCRLDP = *in.CheckCRLDP
		}
		if in.Source != nil {
			if err := s.setSource(a, in.Source); err != nil {
				return nil, err
			}
		}
		if err := a.update(c, in.Name, in.Alias); err != nil {
			return nil, err
		}
		return a, anchorKind.checkAlias(s, a.resource)
	})
}
