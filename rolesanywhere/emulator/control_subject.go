package emulator

import "time"

type subjectSummary struct {
	CreatedAt   string `json:"createdAt"`
	Enabled     bool   `json:"enabled"`
	LastSeenAt  string `json:"lastSeenAt"`
	ARN         string `json:"subjectArn"`
	ID          string `json:"subjectId"`
	UpdatedAt   string `json:"updatedAt"`
	X509Subject string `json:"x509Subject"`
}

type subjectDetail struct {
	subjectSummary
	Credentials []credentialSummary `json:"credentials"`
	Properties  []propertyDetail    `json:"instanceProperties"`
}

type credentialSummary struct {
	Enabled      bool   `json:"enabled"`
	Failed       bool   `json:"failed"`
	Issuer       string `json:"issuer"`
	SeenAt       string `json:"seenAt"`
	SerialNumber string `json:"serialNumber"`
	Certificate  string `json:"x509CertificateData"`
}

type propertyDetail struct {
	Failed     bool              `json:"failed"`
	Properties map[string]string `json:"properties"`
	SeenAt     string            `json:"seenAt"`
}

func (s *Server) subjectDetail(sub *subject) any {
	d := subjectDetail{
		subjectSummary: subjectSummary{
			CreatedAt: sub.Created.Format(time.RFC3339), Enabled: sub.Enabled, LastSeenAt: sub.LastSeen.Format(time.RFC3339),
			ARN: sub.ARN, ID: sub.id(), UpdatedAt: sub.Updated.Format(time.RFC3339), X509Subject: sub.X509Subject,
		},
		Credentials: []credentialSummary{}, Properties: []propertyDetail{},
	}
	for _, c := range sub.Credentials {
		d.Credentials = append(d.Credentials, credentialSummary{
			Enabled: true, Failed: c.Failed, Issuer: c.Issuer, SeenAt: c.Seen.Format(time.RFC3339), SerialNumber: c.SerialNumber, Certificate: c.PEM,
		})
	}
	for _, p := range sub.Properties {
		d.Properties = append(d.Properties, propertyDetail{p.Failed, p.Properties, p.Seen.Format(time.RFC3339)})
	}
	return d
}

func (sub *subject) with(f func(*resource)) *subject {
	b := *sub
	f(&b.resource)
	return &b
}
