package emulator

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// FuzzQuery sends forms to IAM and STS that the administrator has signed. Each one meets
// the same new emulator, so that it has the same effect in every process.
func FuzzQuery(f *testing.F) {
	form := func(action string, parameters ...string) []byte {
		v := url.Values{"Action": {action}, "Version": {iamVersion}}
		for i := 0; i < len(parameters); i += 2 {
			v.Set(parameters[i], parameters[i+1])
		}
		return []byte(v.Encode())
	}
	const known, ofAWS = "arn:aws:iam::111122223333:policy/known", "arn:aws:iam::aws:policy/ReadOnlyAccess"
	for _, op := range iamOperations {
		action := op.name
		f.Add(iamService, form(action, "RoleName", "app", "MaxItems", "1"))
		f.Add(iamService, form(action, "RoleName", "app", "PolicyArn", known, "VersionId", "v1"))
	}
	for _, body := range [][]byte{
		form("CreateRole", "RoleName", "new", "Path", "/a/b/", "AssumeRolePolicyDocument", policyWith(`{}`), "Description", "d", "MaxSessionDuration", "7200", "Tags.member.1.Key", "a", "Tags.member.1.Value", "b"),
		form("UpdateAssumeRolePolicy", "RoleName", "app", "PolicyDocument", policyWith(`{"ArnLike":{"aws:SourceArn":"arn:*:*:*:*:*"}}`)),
		form("CreatePolicy", "PolicyName", "new", "PolicyDocument", permissions),
		form("PutRolePolicy", "RoleName", "app", "PolicyName", "p", "PolicyDocument", permissions),
		form("AttachRolePolicy", "RoleName", "app", "PolicyArn", ofAWS),
		form("ListRoles", "PathPrefix", "/", "Marker", "1.00"),
		form("ListPolicies", "Scope", "Local", "OnlyAttached", "true"),
		form("TagRole", "RoleName", "app", "Tags.member.1.Key", "A", "Tags.member.1.Value", "b"),
		form("UntagRole", "RoleName", "app", "TagKeys.member.1", "a"),
		[]byte("Action=GetUser&Action=GetUser&Version=" + iamVersion), []byte("%"), nil,
	} {
		f.Add(iamService, body)
	}
	f.Add(stsService, []byte(stsQuery))
	f.Add(stsService, []byte("Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=arn:aws:iam::111122223333:role/app&Tags.member.1.Key=a&Tags.member.1.Value=b&TransitiveTagKeys.member.1=a"))
	sensible := map[int]bool{http.StatusOK: true}
	for _, known := range statuses {
		status := known.Value
		sensible[status] = status < http.StatusInternalServerError
	}
	f.Fuzz(func(t *testing.T, service string, body []byte) {
		w := &testEnv{server: newServer(t, Config{Now: func() time.Time { return testNow }})}
		err := w.server.change(func(c *changes) error {
			r := &role{ARN: "arn:aws:iam::111122223333:role/app", ID: "AROAFUZZ", Max: maxDuration, Tags: map[string]string{"a": "b"}, Attached: []string{known}, Inline: map[string]string{"p": permissions}}
			p := &managedPolicy{ARN: known, ID: "ANPAFUZZ", Document: permissions}
			w.server.policies.put(c, p.ARN, p)
			w.server.roles.put(c, r.ARN, r)
			return r.setTrustPolicy(trustRoot)
		})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", bytes.NewReader(body))
		if err := sigv4.Sign(r, body, w.server.Administrator(), service, DefaultRegion, testNow); err != nil {
			return // not a name of a service
		}
		if foreign := serviceOf(r); foreign != iamService && foreign != stsService {
			return
		}
		response := httptest.NewRecorder()
		start := time.Now()
		w.server.ServeHTTP(response, r)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("response after %v", d)
		}
		if !sensible[response.Code] {
			t.Errorf("status is %d: %s", response.Code, response.Body)
		}
		text := response.Body.String()
		if secret := w.server.Administrator().SecretAccessKey; strings.Contains(text, secret) {
			t.Error("the response contains the secret of the administrator")
		}
		d := xml.NewDecoder(strings.NewReader(text))
		for err == nil {
			_, err = d.Token()
		}
		if !errors.Is(err, io.EOF) || text == "" {
			t.Errorf("%v: %q", err, text)
		}
		for _, role := range w.server.roles.all() {
			if restored := role.clone(); restored.parse() != nil {
				t.Errorf("the role %s cannot be restored", role.ARN)
			}
		}
	})
}
