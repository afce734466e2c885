// Package imds serves the parts of the EC2 Instance Metadata Service, version
// 2, that AWS clients use to obtain credentials and the region.
//
// Source: Amazon EC2 User Guide, "Use the Instance Metadata Service to access
// instance metadata" and "Instance metadata categories".
package imds

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// The headers of IMDSv2.
const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// A Handler is the metadata service of one role. It serves paths that begin
// with /latest/; use [http.StripPrefix] for other paths. It refuses IMDSv1
// requests, which have no token. It is safe for concurrent use once its fields
// are set.
type Handler struct {
	// Current returns the current credentials without waiting for new ones.
	Current func(context.Context) (credentials.Credentials, error)

	Role    string // role name for clients; required
	RoleARN string // for iam/info; may be empty
	Region  string // for placement; may be empty: no region is served

	Tokens *Tokens // may be shared between handlers

	encoded credentials.Encoded
}

// maxTTL is the maximum lifetime of a token, in seconds.
const maxTTL = 21600

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		h.token(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	path, known := strings.CutPrefix(r.URL.Path, "/latest/")
	switch {
	case !h.Tokens.valid(r.Header.Get(tokenHeader)):
		fail(w, http.StatusUnauthorized)
	case known && path == credentialsPath+h.Role:
		h.credentials(w, r)
	case known:
		h.document(w, path)
	default:
		fail(w, http.StatusNotFound)
	}
}

const credentialsPath = "meta-data/iam/security-credentials/"

func (h *Handler) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", "PUT")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	text := r.Header.Get(ttlHeader)
	ttl, err := strconv.ParseUint(text, 10, 16)
	if err != nil || ttl < 1 || ttl > maxTTL {
		fail(w, http.StatusBadRequest)
		return
	}
	w.Header().Set(ttlHeader, text) // required by the AWS SDK for Go v2
	write(w, "text/plain", []byte(h.Tokens.issue(time.Duration(ttl)*time.Second)))
}

// A document is the format of credentials for clients. Expiration is rounded
// down to whole seconds and ends in Z, because every client can parse this
// form.
type document struct {
	Code            string
	LastUpdated     string
	Type            string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
}

func (h *Handler) credentials(w http.ResponseWriter, r *http.Request) {
	c, err := h.Current(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, struct{ Code, Message string }{"CredentialsNotAvailable", "no valid credentials are available; see the log of the server"})
		return
	}
	body, err := h.encoded.Bytes(c, h.encode)
	if err != nil { // impossible: all fields are strings
		fail(w, http.StatusInternalServerError)
		return
	}
	write(w, "application/json", body)
}

func (h *Handler) encode(c credentials.Credentials) ([]byte, error) {
	return json.Marshal(document{
		Code: "Success", LastUpdated: h.Tokens.now().UTC().Format(time.RFC3339), Type: "AWS-HMAC",
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.SessionToken,
		Expiration: c.Expires.UTC().Format(time.RFC3339),
	})
}

// instanceID is the ID of no real instance. Some old clients require an ID.
const instanceID = "i-00000000000000000"

// document serves the metadata other than credentials.
func (h *Handler) document(w http.ResponseWriter, path string) {
	zone := ""
	if h.Region != "" {
		zone = h.Region + "a"
	}
	text := ""
	switch path {
	case credentialsPath, strings.TrimSuffix(credentialsPath, "/"):
		text = h.Role
	case "meta-data/instance-id":
		text = instanceID
	case "meta-data/placement/region":
		text = h.Region
	case "meta-data/placement/availability-zone":
		text = zone
	case "meta-data/iam/info":
		writeJSON(w, http.StatusOK, struct{ Code, LastUpdated, InstanceProfileArn, InstanceProfileId string }{
			"Success", h.Tokens.now().UTC().Format(time.RFC3339), h.RoleARN, "",
		})
		return
	case "dynamic/instance-identity/document":
		writeJSON(w, http.StatusOK, map[string]string{
			"instanceId": instanceID, "region": h.Region, "availabilityZone": zone, "accountId": accountOf(h.RoleARN),
		})
		return
	}
	if text == "" {
		fail(w, http.StatusNotFound)
		return
	}
	write(w, "text/plain", []byte(text))
}

// accountOf returns the account ID of an ARN, or "".
func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

func fail(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // impossible: all values are strings
		fail(w, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func write(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
