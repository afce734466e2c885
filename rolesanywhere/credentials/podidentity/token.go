package podidentity

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	// maxToken is the maximum length of a token in bytes. Tokens of Kubernetes
	// have some 1,000.
	maxToken = 16 << 10

	// maxSkew is how far the clock of this machine may be ahead of the API
	// server's.
	maxSkew = time.Minute

	// maxExpiry is the last second of the year 9999.
	maxExpiry = 253402300799
)

// bearer returns the token of a request: the value of its Authorization header, as the
// SDKs send it, or what follows the scheme Bearer.
func bearer(values []string) (string, error) {
	if len(values) != 1 || values[0] == "" {
		return "", &RefusedError{MalformedToken, "the request needs one Authorization header with the service account token of the pod"}
	}
	const scheme = "Bearer "
	token := values[0]
	if len(token) > len(scheme) && strings.EqualFold(token[:len(scheme)], scheme) {
		token = token[len(scheme):]
	}
	return token, nil
}

// expiry returns the time at which a token expires. It checks the form of the token, but
// not its signature. The error is a [*RefusedError].
func expiry(token string, now time.Time) (time.Time, error) {
	malformed := func(reason string) (time.Time, error) {
		return time.Time{}, &RefusedError{MalformedToken, "the token is not a service account token: " + reason}
	}
	if len(token) > maxToken {
		return malformed(fmt.Sprintf("it has %d bytes; the limit is %d", len(token), maxToken))
	}
	segments := strings.SplitN(token, ".", 4)
	if len(segments) != 3 {
		return malformed("it does not have three segments")
	}
	var decoded [3][]byte
	for i, segment := range segments {
		b, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil || len(b) == 0 || strings.ContainsAny(segment, "\r\n") {
			return malformed(fmt.Sprintf("segment %d is not base64url", i+1))
		}
		decoded[i] = b
	}
	var claims struct {
		Expiry *float64 `json:"exp"`
	}
	if json.Unmarshal(decoded[1], &claims) != nil || claims.Expiry == nil || *claims.Expiry < 0 || *claims.Expiry > maxExpiry {
		return malformed("its claims do not say when it expires")
	}
	expires := time.Unix(int64(*claims.Expiry), 0)
	if now.Sub(expires) > maxSkew {
		return time.Time{}, &RefusedError{ExpiredToken, "the token expired at " + expires.UTC().Format(time.RFC3339)}
	}
	return expires, nil
}
