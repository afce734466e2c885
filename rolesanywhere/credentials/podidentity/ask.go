package podidentity

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// maxAnswer is the maximum size of an answer of the API server, in bytes. A TokenReview
// contains the token and some hundred bytes.
const maxAnswer = 64 << 10

// causes has the meanings of some statuses.
var causes = lookup.Table[int, string]{
	{http.StatusUnauthorized, "it does not accept the token or the certificate of this agent, which needs the RBAC permission create on tokenreviews.authentication.k8s.io"},
	{http.StatusForbidden, "this agent needs the RBAC permission create on tokenreviews.authentication.k8s.io"},
	{http.StatusNotFound, "it is not a Kubernetes API server"},
	{http.StatusTooManyRequests, "it has too many requests"},
}

// ask asks the API server once.
func (r *Reviewer) ask(ctx context.Context, token string) (Pod, error) {
	audience := cmp.Or(r.Audience, DefaultAudience)
	body, err := json.Marshal(request{apiVersion, kind, requestSpec{token, []string{audience}}})
	if err != nil {
		return Pod{}, err // impossible: all fields are strings
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint, bytes.NewReader(body))
	if err != nil {
		return Pod{}, err // impossible: Check parsed the URL
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if err := r.authenticate(req); err != nil {
		return Pod{}, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return Pod{}, fmt.Errorf("asking the API server: %w", hide(err, token))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		// The body may contain anything, even the token.
		err := fmt.Errorf("the API server returned status %d", resp.StatusCode)
		if cause := causes.Get(resp.StatusCode); cause != "" {
			err = fmt.Errorf("%w: %s", err, cause)
		}
		return Pod{}, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Pod{}, fmt.Errorf("reading the answer of the API server: %w", hide(err, token))
	}
	if len(answer) > maxAnswer {
		return Pod{}, fmt.Errorf("the answer of the API server is larger than %d bytes", maxAnswer)
	}
	return pod(answer, audience, r.Node, token)
}

// hide removes the token from an error. Errors of net/http quote the answer if it is not
// HTTP.
func hide(err error, token string) error {
	if text := without(err.Error(), token); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// authenticate adds the token of the agent itself to a request.
func (r *Reviewer) authenticate(req *http.Request) error {
	if r.Token == nil {
		return nil
	}
	own, err := r.Token()
	if err != nil {
		return fmt.Errorf("the token of this agent: %w", err)
	}
	own = strings.TrimSpace(own)
	if own == "" || len(own) > maxToken || strings.ContainsFunc(own, func(c rune) bool { return c < '!' || c > '~' }) {
		return errors.New("the token of this agent is empty, too long, or contains white space, control characters or characters outside ASCII")
	}
	req.Header.Set("Authorization", "Bearer "+own)
	return nil
}
