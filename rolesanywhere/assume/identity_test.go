package assume

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

func TestCallerIdentity(t *testing.T) {
	const good = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
		<Arn>arn:aws:sts::111122223333:assumed-role/demo/01</Arn><UserId>AROAEXAMPLE:01</UserId><Account>111122223333</Account>
		</GetCallerIdentityResult></GetCallerIdentityResponse>`
	c := credentials.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "s3same-secret", SessionToken: "s3same-token", Expires: time.Now().Add(time.Hour)}
	for _, test := range []struct {
		name, body string
		status     int
		want       error // a type or a value; nil: none
	}{
		{"good", good, http.StatusOK, nil},
		{"refused", `<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>`, http.StatusForbidden, new(rolesanywhere.APIError)},
		{"other server", "hello", http.StatusOK, rolesanywhere.ErrUnreachable},
		{"empty", strings.Replace(good, "arn:aws:sts::111122223333:assumed-role/demo/01", "", 1), http.StatusOK, rolesanywhere.ErrUnreachable},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("Action") != "GetCallerIdentity" || !strings.Contains(r.Header.Get("Authorization"), "ASIAEXAMPLE") {
				t.Errorf("%v %v", r.Form, r.Header)
			}
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}))
		id, err := CallerIdentity(t.Context(), Config{Region: "us-east-1", Endpoint: server.URL}, c)
		server.Close()
		var api *rolesanywhere.APIError
		switch _, isAPI := test.want.(*rolesanywhere.APIError); {
		case test.want == nil:
			if err != nil || id != (Identity{"arn:aws:sts::111122223333:assumed-role/demo/01", "111122223333", "AROAEXAMPLE:01"}) {
				t.Errorf("%s: %+v, %v", test.name, id, err)
			}
		case isAPI && !errors.As(err, &api), !isAPI && !errors.Is(err, test.want):
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3same") {
			t.Errorf("%s: the error has a secret: %v", test.name, err)
		}
	}
	if _, err := CallerIdentity(t.Context(), Config{Region: "us-east-1", Endpoint: "ftp://x"}, c); !errors.Is(err, rolesanywhere.ErrConfig) {
		t.Errorf("%v", err)
	}
}
