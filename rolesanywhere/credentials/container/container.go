// Package container answers as the endpoint that gives credentials to
// containers of ECS and EKS.
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

// A Handler gives credentials to who has the token, at whatever path. It is
// safe for concurrent use once its fields are set.
type Handler struct {
	// Current returns the credentials that are there, without waiting.
	Current func(context.Context) (credentials.Credentials, error)

	// Token returns what clients send as Authorization, as it stands. A
	// blank one lets nobody in.
	Token func() string

	RoleARN string // may be blank

	answer credentials.Encoded
}

// A document is what clients read. Expiration is in whole seconds with Z, the
// one form that every client parses, rounded down.
type document struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
	RoleARN         string `json:"RoleArn,omitempty"`
	AccountID       string `json:"AccountId,omitempty"`
}

// A refusal is what clients show of an error.
type refusal struct{ Code, Message string }

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		write(w, http.StatusMethodNotAllowed, refusal{"MethodNotAllowed", "credentials are read with GET"})
		return
	}
	if !sameSecret(r.Header.Get("Authorization"), h.Token()) {
		write(w, http.StatusUnauthorized, refusal{"InvalidAuthorizationToken", "the authorization token is missing or wrong: set AWS_CONTAINER_AUTHORIZATION_TOKEN"})
		return
	}
	c, err := h.Current(r.Context())
	if err != nil {
		write(w, http.StatusServiceUnavailable, refusal{"CredentialsNotAvailable", "no valid credentials are there; the log of the server says why"})
		return
	}
	body, err := h.answer.Bytes(c, h.encode)
	if err != nil { // strings alone: it cannot
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	writeBytes(w, http.StatusOK, body)
}

func (h *Handler) encode(c credentials.Credentials) ([]byte, error) {
	return json.Marshal(document{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.SessionToken,
		Expiration: c.Expires.UTC().Format(time.RFC3339), RoleARN: h.RoleARN, AccountID: c.AccountID,
	})
}

// sameSecret takes the same time whatever is given, also for another length.
func sameSecret(given, want string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && want != ""
}

func write(w http.ResponseWriter, status int, v refusal) {
	body, err := json.Marshal(v)
	if err != nil { // strings alone: it cannot
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	writeBytes(w, status, body)
}

func writeBytes(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
