package emulator

import (
	"cmp"
	"encoding/pem"
	"errors"
	"slices"
	"time"
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
	b.previousAlias = ""
	f(&b.resource)
	return &b
}

// setSource checks the source of a trust anchor and takes its certificates.
func (s *Server) setSource(a *anchor, src *source) error {
	missing := func(name string) error { return refuse(codeValidation, msgParameter, name, "is missing") }
	switch {
	case src == nil:
		return missing("source")
	case src.Data == nil:
		return missing("source.sourceData")
	case src.Type == sourceBundle && src.Data.ACMPCAARN == "":
		if src.Data.Certificate == "" {
			return missing("source.sourceData.x509CertificateData")
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
		Name          string                `json:"name"`
		Source        *source               `json:"source"`
		Alias         string                `json:"aliasName"`
		CheckCRLDP    bool                  `json:"crlDpRevocationEnabled"`
		Enabled       bool                  `json:"enabled"`
		Notifications []notificationSetting `json:"notificationSettings"`
		Tags          []tag                 `json:"tags"`
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
	return anchorKind.create(s, a, maxAnchors)
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
	return anchorKind.change(s, c.id, func(_ *changes, old *anchor) (*anchor, error) {
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

type profileDetail struct {
	detail
	AcceptRoleSessionName bool               `json:"acceptRoleSessionName"`
	Mappings              []attributeMapping `json:"attributeMappings"`
	CreatedBy             string             `json:"createdBy"`
	DurationSeconds       int                `json:"durationSeconds"`
	ManagedPolicyARNs     []string           `json:"managedPolicyArns"`
	ARN                   string             `json:"profileArn"`
	ID                    string             `json:"profileId"`
	RequireProperties     bool               `json:"requireInstanceProperties"`
	RoleARNs              []string           `json:"roleArns"`
	SessionPolicy         string             `json:"sessionPolicy,omitempty"`
}

func (s *Server) profileDetail(p *profile) any {
	return profileDetail{
		detail: p.detail(), AcceptRoleSessionName: p.AcceptRoleSessionName, Mappings: p.Mappings, CreatedBy: p.account(),
		DurationSeconds: p.DurationSeconds, ManagedPolicyARNs: p.ManagedPolicyARNs, ARN: p.ARN, ID: p.id(),
		RequireProperties: p.RequireProperties, RoleARNs: p.RoleARNs, SessionPolicy: p.SessionPolicy,
	}
}

func (p *profile) with(f func(*resource)) *profile {
	q := *p
	q.previousAlias = ""
	f(&q.resource)
	return &q
}

// A profileInput has the members that CreateProfile and UpdateProfile have in common.
type profileInput struct {
	Alias                 *string  `json:"aliasName"`
	Name                  *string  `json:"name"`
	RoleARNs              []string `json:"roleArns"`
	AcceptRoleSessionName *bool    `json:"acceptRoleSessionName"`
	DurationSeconds       *int     `json:"durationSeconds"`
	ManagedPolicyARNs     []string `json:"managedPolicyArns"`
	SessionPolicy         *string  `json:"sessionPolicy"`
}

// set checks the members that a request has, and sets the fields of p.
func (in profileInput) set(s *Server, p *profile) error {
	if in.RoleARNs != nil {
		if err := s.checkRoleARNs(in.RoleARNs); err != nil {
			return err
		}
		p.RoleARNs = in.RoleARNs
	}
	if in.AcceptRoleSessionName != nil {
		p.AcceptRoleSessionName = *in.AcceptRoleSessionName
	}
	if d := in.DurationSeconds; d != nil {
		if err := between("durationSeconds", *d, minDuration, maxDuration); err != nil {
			return err
		}
		p.DurationSeconds = *d
	}
	if in.ManagedPolicyARNs != nil {
		if err := checkPolicyARNs(in.ManagedPolicyARNs); err != nil {
			return err
		}
		p.ManagedPolicyARNs = in.ManagedPolicyARNs
	}
	if in.SessionPolicy != nil {
		if err := checkSessionPolicy(*in.SessionPolicy); err != nil {
			return err
		}
		p.SessionPolicy = *in.SessionPolicy
	}
	return nil
}

func (s *Server) createProfile(c *controlRequest) (any, error) {
	var in struct {
		profileInput
		Enabled           bool  `json:"enabled"`
		RequireProperties bool  `json:"requireInstanceProperties"`
		Tags              []tag `json:"tags"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	name, alias := "", ""
	if in.Name != nil {
		name = *in.Name
	}
	if in.Alias != nil {
		alias = *in.Alias
	}
	r, err := s.newResource(c, "profile", name, alias, in.Enabled, in.Tags)
	if err != nil {
		return nil, err
	}
	if in.RoleARNs == nil {
		return nil, refuse(codeValidation, msgParameter, "roleArns", "is missing")
	}
	p := &profile{
		resource: r, DurationSeconds: defaultDuration, RequireProperties: in.RequireProperties,
		ManagedPolicyARNs: []string{}, Mappings: defaultMappings(),
	}
	if err := in.set(s, p); err != nil {
		return nil, err
	}
	return profileKind.create(s, p, maxProfiles)
}

func (s *Server) updateProfile(c *controlRequest) (any, error) {
	var in profileInput
	if err := c.input(&in); err != nil {
		return nil, err
	}
	return profileKind.change(s, c.id, func(_ *changes, old *profile) (*profile, error) {
		p := old.with(func(*resource) {})
		if err := in.set(s, p); err != nil {
			return nil, err
		}
		if err := p.update(c, in.Name, in.Alias); err != nil {
			return nil, err
		}
		return p, profileKind.checkAlias(s, p.resource)
	})
}

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
	d.previousAlias = ""
	f(&d.resource)
	return &d
}

// setData checks the list of c and takes it.
func (c *crl) setData(data []byte) error {
	if len(data) == 0 {
		return refuse(codeValidation, msgParameter, "crlData", "is missing")
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
		return nil, refuse(codeValidation, msgParameter, "trustAnchorArn", "is missing")
	}
	var out any
	err = s.change(func(ch *changes) error {
		if _, ok := s.anchors.get(in.TrustAnchorARN); !ok {
			return refuse(codeNotFound, msgNotFound, clip(in.TrustAnchorARN))
		}
		n := 0
		for _, other := range s.crls.all() {
			if other.TrustAnchorARN == in.TrustAnchorARN {
				n++
			}
		}
		if n >= maxAnchorCRLs {
			return refuse(codeValidation, msgQuota, maxAnchorCRLs, "CRLs of a trust anchor")
		}
		if err := crlKind.checkAlias(s, list.resource); err != nil {
			return err
		}
		s.crls.put(ch, list.ARN, list)
		out = crlKind.output(s, list)
		return nil
	})
	return out, err
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
	return crlKind.change(s, c.id, func(_ *changes, old *crl) (*crl, error) {
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

// The events and channels of notification settings.
var (
	notificationEvents   = []string{"CA_CERTIFICATE_EXPIRY", "END_ENTITY_CERTIFICATE_EXPIRY"}
	notificationChannels = []string{"ALL"}
)

const (
	defaultThreshold = 45 // days
	maxThreshold     = 360
	byService        = "rolesanywhere.amazonaws.com"
)

// notifications returns the settings of a: those set, and the defaults of the others.
func (a *anchor) notifications() []notificationSetting {
	all := make([]notificationSetting, 0, len(notificationEvents))
	for _, event := range notificationEvents {
		setting := notificationSetting{Channel: notificationChannels[0], ConfiguredBy: byService, Enabled: true, Event: event, Threshold: defaultThreshold}
		for _, own := range a.Notifications {
			if own.Event == event {
				setting = own
			}
		}
		all = append(all, setting)
	}
	return all
}

// notify checks settings and adds them to those of a, which it may not share.
func (a *anchor) notify(settings []notificationSetting) error {
	own := slices.Clone(a.Notifications)
	for _, n := range settings {
		if err := checkNotification(n.Event, n.Channel); err != nil {
			return err
		}
		if n.Enabled || n.Threshold != 0 {
			if err := between("notificationSettings.threshold", n.Threshold, 1, maxThreshold); err != nil {
				return err
			}
		}
		n.Channel, n.ConfiguredBy = cmp.Or(n.Channel, notificationChannels[0]), a.account()
		own = slices.DeleteFunc(own, func(o notificationSetting) bool { return o.Event == n.Event })
		own = append(own, n)
	}
	a.Notifications = own
	return nil
}

func checkNotification(event, channel string) error {
	if err := oneOf("event", event, notificationEvents); err != nil {
		return err
	}
	if channel == "" {
		return nil
	}
	return oneOf("channel", channel, notificationChannels)
}

func (s *Server) putNotificationSettings(c *controlRequest) (any, error) {
	var in struct {
		Settings      []notificationSetting `json:"notificationSettings"`
		TrustAnchorID string                `json:"trustAnchorId"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	return anchorKind.change(s, in.TrustAnchorID, func(_ *changes, old *anchor) (*anchor, error) {
		a := old.with(func(r *resource) { r.Updated = c.now })
		return a, a.notify(in.Settings)
	})
}

func (s *Server) resetNotificationSettings(c *controlRequest) (any, error) {
	var in struct {
		Keys []struct {
			Channel string `json:"channel"`
			Event   string `json:"event"`
		} `json:"notificationSettingKeys"`
		TrustAnchorID string `json:"trustAnchorId"`
	}
	if err := c.input(&in); err != nil {
		return nil, err
	}
	return anchorKind.change(s, in.TrustAnchorID, func(_ *changes, old *anchor) (*anchor, error) {
		a := old.with(func(r *resource) { r.Updated = c.now })
		a.Notifications = slices.Clone(a.Notifications)
		for _, k := range in.Keys {
			if err := checkNotification(k.Event, k.Channel); err != nil {
				return nil, err
			}
			a.Notifications = slices.DeleteFunc(a.Notifications, func(n notificationSetting) bool { return n.Event == k.Event })
		}
		return a, nil
	})
}
