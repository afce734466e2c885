package emulator

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// sessionParameters are the parameters of a request and fields of its
// certificate. The certificate is verified only if the request succeeded.
type sessionParameters struct {
	params
	SerialNumber string `json:"serialNumber,omitempty"` // hexadecimal
	Subject      string `json:"subject,omitempty"`      // RFC 2253
	Issuer       string `json:"issuer,omitempty"`       // RFC 2253
}

type sessionElements struct {
	CredentialSet []loggedCredentials `json:"credentialSet"`
	SubjectARN    string              `json:"subjectArn"`
}

type loggedCredentials struct {
	AssumedRoleUser assumedRoleUser `json:"assumedRoleUser"`
	Credentials     struct {
		AccessKeyID string `json:"accessKeyId"`
		Expiration  string `json:"expiration"`
	} `json:"credentials"`
	RoleARN        string `json:"roleArn"`
	SourceIdentity string `json:"sourceIdentity"`
}

func responseElements(out *createSessionOutput) *sessionElements {
	e := &sessionElements{SubjectARN: out.SubjectARN}
	for _, c := range out.CredentialSet {
		l := loggedCredentials{AssumedRoleUser: c.AssumedRoleUser, RoleARN: c.RoleARN, SourceIdentity: c.SourceIdentity}
		l.Credentials.AccessKeyID, l.Credentials.Expiration = c.Credentials.AccessKeyID, c.Credentials.Expiration
		e.CredentialSet = append(e.CredentialSet, l)
	}
	return e
}

// additionalData are problems of a request: those of its signature, in the form that
// the service records, and the parameters that have no effect.
type additionalData struct {
	HeadersNotSigned     []string `json:"requiredHeadersNotSigned,omitempty"`
	AlgorithmKeyMismatch string   `json:"algorithmKeyMismatch,omitempty"`   // the algorithm named in the request
	Ignored              []string `json:"ignoredParameters,omitempty"`      // the emulator's own
	NotVerified          bool     `json:"certificateNotVerified,omitempty"` // the emulator's own: the parameters have the certificate that the client sent
	Reason               string   `json:"reason,omitempty"`                 // the emulator's own: why the request was refused, as in the log
}

// signatureFindings returns the problems of a request's signature. It uses only the
// headers, so that it also works for a request that cannot be parsed.
func signatureFindings(r *http.Request) additionalData {
	algorithm, fields, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, list, _ := strings.Cut(fields, "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	signed := strings.Split(list, ";")

	required := []string{"host", "x-amz-date", "x-amz-x509"}
	for _, name := range []string{"content-type", "x-amz-x509-chain"} {
		if r.Header.Get(name) != "" {
			required = append(required, name)
		}
	}
	var f additionalData
	for _, name := range required {
		if !slices.Contains(signed, name) {
			f.HeadersNotSigned = append(f.HeadersNotSigned, name)
		}
	}
	if der, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Amz-X509")); err == nil {
		if cert, err := x509.ParseCertificate(der); err == nil {
			if want, err := sigv4x509.Algorithm(mldsa.PublicKeyOf(cert)); err == nil && want != algorithm {
				f.AlgorithmKeyMismatch = algorithm
			}
		}
	}
	return f
}

// assumedByService returns the event of the AssumeRole with which IAM Roles Anywhere
// creates a session.
func (e *event) assumedByService(issued *session, name string, lifetime time.Duration) event {
	assumed := *e
	assumed.also, assumed.beside = nil, nil
	assumed.UserIdentity = &userIdentity{Type: "AWSService", InvokedBy: sourceRolesAnywhere}
	assumed.EventSource, assumed.EventName, assumed.ReadOnly = sourceSTS, actionAssumeRole, isReadOnly(actionAssumeRole)
	assumed.SourceIPAddress, assumed.UserAgent = sourceRolesAnywhere, sourceRolesAnywhere
	assumed.AdditionalEventData = additionalData{}
	assumed.RequestID, assumed.EventID = newUUID(), newUUID()
	assumed.RequestParameters = &assumeRoleParams{
		RoleARN: issued.RoleARN, RoleSessionName: name, SourceIdentity: issued.Source, Tags: issued.Tags, DurationSeconds: int(lifetime.Seconds()),
	}
	assumed.ResponseElements = &assumeRoleResponse{
		User:           issued.User,
		Credentials:    assumeRoleOutput{AccessKeyID: issued.AccessKeyID, Expiration: issued.Expires.Format(time.RFC3339)},
		SourceIdentity: issued.Source,
	}
	assumed.Resources = []eventResource{{issued.Account, typeRole, issued.RoleARN}}
	return assumed
}
