package emulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A counter counts calls of Write, which must contain one line each.
type counter struct {
	bytes.Buffer
	writes int
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestEvents(t *testing.T) {
	var log counter
	w := newTestEnv(t, Config{Events: &log, Profiles: []Profile{{AcceptRoleSessionName: true}}})
	agent := setHeader("User-Agent", "test/1.0 <a&b>")
	a := w.do(t, call{body: body("roleSessionName", "me", "durationSeconds", 1800), after: agent})
	issued := a.session(t)
	c := issuedCredentials(issued)
	refused := w.do(t, call{body: body("roleArn", testRole+"2"), after: agent})
	w.do(t, call{body: "garbage", after: replaceAuthorization("content-type;", "")})
	w.do(t, call{after: replaceAuthorization("ECDSA", "RSA")})
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, c, testNow); err != nil {
		t.Fatal(err)
	}
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, c, testNow.Add(time.Hour)); err == nil {
		t.Fatal("no error")
	}
	w.sts(t, c, stsCall{body: "Action=Other&Version=1"}) // not in the log

	lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	if len(lines) != 7 || log.writes != 7 {
		t.Fatalf("%d lines in %d writes, want 7", len(lines), log.writes)
	}
	events := make([]map[string]any, len(lines))
	ids := make(map[any]bool)
	for i, l := range lines {
		if err := json.Unmarshal([]byte(l), &events[i]); err != nil {
			t.Fatal(err)
		}
		ids[events[i]["eventID"]] = true
		for _, secret := range []string{c.SecretAccessKey, c.SessionToken, base64.StdEncoding.EncodeToString(w.client.cert.Raw)} {
			if strings.Contains(l, secret) || strings.Contains(l, secret[:16]) {
				t.Errorf("event %d contains a secret or a certificate", i)
			}
		}
	}
	if len(ids) != len(events) {
		t.Errorf("event IDs are not unique: %v", ids)
	}

	created := events[0]
	for name, want := range map[string]any{
		"eventVersion":       "1.11",
		"eventTime":          "2031-02-03T04:05:06Z",
		"eventSource":        "rolesanywhere.amazonaws.com",
		"eventName":          "CreateSession",
		"awsRegion":          "us-east-1",
		"sourceIPAddress":    "127.0.0.1",
		"userAgent":          "test/1.0 <a&b>",
		"recipientAccountId": "111122223333",
		"requestID":          a.header.Get("X-Amzn-Requestid"),
		"requestParameters": map[string]any{
			"trustAnchorArn": testAnchor, "profileArn": testProfile, "roleArn": testRole,
			"durationSeconds": 1800.0, "roleSessionName": "me", "serialNumber": "0abc", "subject": "CN=client", "issuer": "CN=Root,O=Test",
		},
		"responseElements": map[string]any{
			"subjectArn": a.out.SubjectARN,
			"credentialSet": []any{map[string]any{
				"assumedRoleUser": map[string]any{"arn": issued.AssumedRoleUser.ARN, "assumedRoleId": issued.AssumedRoleUser.ID},
				"credentials":     map[string]any{"accessKeyId": c.AccessKeyID, "expiration": "2031-02-03T04:35:06Z"},
				"roleArn":         testRole,
				"sourceIdentity":  "CN=client",
			}},
		},
		"userIdentity":  map[string]any{"type": "Unknown"},
		"readOnly":      false,
		"eventType":     "AwsApiCall",
		"eventCategory": "Management", "managementEvent": true,
		"resources": []any{
			map[string]any{"accountId": "111122223333", "type": "AWS::RolesAnywhere::TrustAnchor", "ARN": testAnchor},
			map[string]any{"accountId": "111122223333", "type": "AWS::RolesAnywhere::Profile", "ARN": testProfile},
			map[string]any{"accountId": "111122223333", "type": "AWS::IAM::Role", "ARN": testRole},
		},
		"errorCode":           nil,
		"errorMessage":        nil,
		"additionalEventData": nil,
	} {
		if !reflect.DeepEqual(created[name], want) {
			t.Errorf("%s is %v, want %v", name, created[name], want)
		}
	}

	for name, want := range map[string]any{
		"userIdentity":    map[string]any{"type": "AWSService", "invokedBy": "rolesanywhere.amazonaws.com"},
		"eventSource":     "sts.amazonaws.com",
		"eventName":       "AssumeRole",
		"readOnly":        true,
		"sourceIPAddress": "rolesanywhere.amazonaws.com",
		"userAgent":       "rolesanywhere.amazonaws.com",
		"requestParameters": map[string]any{
			"roleArn": testRole, "roleSessionName": "me", "sourceIdentity": "CN=client", "durationSeconds": 1800.0,
			"principalTags": map[string]any{"x509Subject/CN": "client", "x509Issuer/CN": "Root", "x509Issuer/O": "Test"},
		},
		"responseElements": map[string]any{
			"assumedRoleUser": map[string]any{"arn": issued.AssumedRoleUser.ARN, "assumedRoleId": issued.AssumedRoleUser.ID},
			"credentials":     map[string]any{"accessKeyId": c.AccessKeyID, "expiration": "2031-02-03T04:35:06Z"},
			"sourceIdentity":  "CN=client",
		},
		"resources": []any{map[string]any{"accountId": "111122223333", "type": "AWS::IAM::Role", "ARN": testRole}},
	} {
		if !reflect.DeepEqual(events[1][name], want) {
			t.Errorf("%s of AssumeRole is %v, want %v", name, events[1][name], want)
		}
	}

	for _, tt := range []struct {
		event                   int
		source, name, code, msg string
		data                    any
	}{
		{2, sourceRolesAnywhere, "CreateSession", codeNotFound, refused.message, map[string]any{"reason": errNotHere.Error()}},
		{3, sourceRolesAnywhere, "CreateSession", codeValidation, "", map[string]any{"requiredHeadersNotSigned": []any{"content-type"}}},
		{4, sourceRolesAnywhere, "CreateSession", codeAccessDenied, "", map[string]any{"algorithmKeyMismatch": "AWS4-X509-RSA-SHA256"}},
		{6, sourceSTS, "GetCallerIdentity", codeSignatureNoMatch, "", nil},
	} {
		e := events[tt.event]
		if e["eventSource"] != tt.source || e["eventName"] != tt.name || e["errorCode"] != tt.code ||
			e["errorMessage"] == "" || tt.msg != "" && e["errorMessage"] != tt.msg || e["responseElements"] != nil {
			t.Errorf("event %d is %v", tt.event, e)
		}
		if !reflect.DeepEqual(e["additionalEventData"], tt.data) {
			t.Errorf("additional data of event %d is %v, want %v", tt.event, e["additionalEventData"], tt.data)
		}
	}
	want := map[string]any{"type": "AssumedRole", "principalId": issued.AssumedRoleUser.ID, "arn": issued.AssumedRoleUser.ARN,
		"accountId": "111122223333", "accessKeyId": c.AccessKeyID,
		"sessionContext": map[string]any{
			"sessionIssuer":  map[string]any{"type": "Role", "principalId": roleID(testRole), "arn": testRole, "accountId": "111122223333", "userName": "demo"},
			"attributes":     map[string]any{"creationDate": "2031-02-03T04:05:06Z", "mfaAuthenticated": "false"},
			"sourceIdentity": "CN=client",
		}}
	if !reflect.DeepEqual(events[5]["userIdentity"], want) {
		t.Errorf("identity is %v, want %v", events[5]["userIdentity"], want)
	}
	if refused.status != http.StatusNotFound {
		t.Errorf("status is %d", refused.status)
	}
}

// Each request is one record of the log, without its query and without secrets.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	w := newTestEnv(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	issued := issuedCredentials(w.do(t, call{}).session(t))
	w.do(t, call{body: body("roleArn", testRole+"2")})
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, issued, testNow); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(w.url + "/nosuch?X-Amz-Signature=signature-in-a-query")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.stop()
	if n := strings.Count(log.String(), "\n"); n != 4 {
		t.Errorf("%d lines:\n%s", n, &log)
	}
	for _, want := range []string{
		"msg=answered method=POST path=/sessions status=201\n",
		"msg=refused method=POST path=/sessions status=404 reason=\"ResourceNotFoundException: ",
		"msg=answered method=POST path=/ operation=GetCallerIdentity status=200\n",
		"msg=refused method=GET path=/nosuch status=404 reason=\"UnknownOperationException: ",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no line has %s:\n%s", want, &log)
		}
	}
	for _, secret := range []string{issued.SecretAccessKey, issued.SessionToken, "signature-in-a-query"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

// A request stores its events and everything that it changes in one commit.
func TestOneCommit(t *testing.T) {
	w := newTestEnv(t, Config{State: newFolder(t), Roles: []Role{{}, {ARN: otherRole}}})
	defer w.server.Close()
	commits := func() int {
		b, err := os.ReadFile(w.server.journal.Path())
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("\n"))
	}
	var c credentials.Credentials
	for i, request := range []func(){
		func() { c = issuedCredentials(w.do(t, call{}).session(t)) },
		func() { w.do(t, call{body: body("roleSessionName", "me")}) }, // refused after it was authenticated
		func() {
			w.sts(t, c, stsCall{body: "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=" + otherRole})
		},
		func() { w.lookup(t, "{}") },
		func() { w.must(t, "DisableProfile", lastElement(testProfile), nil) },
		func() { w.must(t, "TagResource", "", object{"resourceArn": testProfile, "tags": []object{}}) },
	} {
		before := commits()
		request()
		if n := commits() - before; n != 1 {
			t.Errorf("request %d: %d commits", i, n)
		}
	}
	if sessions, events := len(w.server.sessions.keys), w.server.history.size(); sessions != 3 || events != 7 {
		t.Errorf("%d sessions, %d events", sessions, events)
	}
}
