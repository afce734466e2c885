// Package container serves credentials like the container credential endpoint
// of ECS and EKS.
//
// Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
package container

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A Handler serves credentials, at any path, to clients that send the token. It
// is safe for concurrent use once its fields are set.
type Handler struct {
	// Current returns the current credentials without waiting for new ones.
	Current func(context.Context) (credentials.Credentials, error)

	// Token returns the value that clients must send in the Authorization
	// header. If it is empty, all requests are refused.
	Token func() string

	RoleARN string // may be empty

	encoded credentials.Encoded
}

// A document is the format of credentials for clients. Expiration is rounded
// down to whole seconds and ends in Z, because every client can parse this
// form.
type document struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
	RoleARN         string `json:"RoleArn,omitempty"`
	AccountID       string `json:"AccountId,omitempty"`
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		WriteError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "use GET to read credentials")
		return
	}
	if !sameSecret(r.Header.Get("Authorization"), h.Token()) {
		WriteError(w, http.StatusUnauthorized, "InvalidAuthorizationToken", "the authorization token is missing or wrong: set AWS_CONTAINER_AUTHORIZATION_TOKEN")
		return
	}
	c, err := h.Current(r.Context())
	if err != nil {
		WriteError(w, http.StatusServiceUnavailable, "CredentialsNotAvailable", "no valid credentials are available; see the log of the server")
		return
	}
	body, err := h.encoded.Bytes(c, h.encode)
	if err != nil { // impossible: all fields are strings
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	Write(w, http.StatusOK, body)
}

func (h *Handler) encode(c credentials.Credentials) ([]byte, error) { return Encode(c, h.RoleARN) }

// Encode returns the document with credentials that clients read. roleARN may be empty.
func Encode(c credentials.Credentials, roleARN string) ([]byte, error) {
	return json.Marshal(document{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.SessionToken,
		Expiration: c.Expires.UTC().Format(time.RFC3339), RoleARN: roleARN, AccountID: c.AccountID,
	})
}

// sameSecret reports whether given equals want and is not empty. Its time does
// not depend on where they differ. Hashing hides the length of want.
func sameSecret(given, want string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && want != ""
}

// WriteError writes an error in the format that clients show.
func WriteError(w http.ResponseWriter, status int, code, message string) {
	body, err := json.Marshal(struct{ Code, Message string }{code, message})
	if err != nil { // impossible: all fields are strings
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	Write(w, status, body)
}

// Write writes a JSON document, such as one of Encode.
func Write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
