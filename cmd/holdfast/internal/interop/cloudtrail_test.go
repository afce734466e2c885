package interop

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The administrator finds the sessions of Holdfast with the AWS CLI, and the certificate
// that got them.
func TestAWSCLICloudTrail(t *testing.T) {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	s, err := emulator.New(emulator.Config{TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{filepath.Join(dir, "ca.pem")}}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	session := func(role string) {
		t.Helper()
		cmd := exec.Command("holdfast", "credential-process", "--endpoint", server.URL, "--certificate", "cert.pem", "--private-key", "key.pem",
			"--trust-anchor-arn", s.TrustAnchorARNs()[0], "--profile-arn", s.ProfileARNs()[0], "--role-arn", role)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); (err == nil) != (role == s.RoleARNs()[0]) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	session(s.RoleARNs()[0])
	session(s.RoleARNs()[0] + "2")
	session(s.RoleARNs()[0])
	admin := s.Administrator()
	call := func(out any, args ...string) (failure string) {
		t.Helper()
		cmd := exec.Command(aws, append(args, "--endpoint-url", server.URL, "--output", "json")...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_DEFAULT_REGION=us-east-1",
			"AWS_ACCESS_KEY_ID=" + admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		data, err := cmd.Output()
		if err != nil {
			return stderr.String()
		}
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		return ""
	}

	var found struct {
		Events []struct {
			EventName, EventTime, ReadOnly, CloudTrailEvent string
			Resources                                       []struct{ ResourceName string }
		}
	}
	lookup := []string{"cloudtrail", "lookup-events", "--lookup-attributes", "AttributeKey=EventName,AttributeValue=CreateSession"}
	for _, pages := range [][]string{nil, {"--page-size", "1"}} {
		failure := call(&found, append(lookup, pages...)...)
		var errors []string
		for _, e := range found.Events {
			var record struct {
				EventSource, ErrorCode string
				RequestParameters      struct{ Subject string }
			}
			if err := json.Unmarshal([]byte(e.CloudTrailEvent), &record); err != nil {
				t.Fatal(err)
			}
			if e.EventName != "CreateSession" || e.EventTime == "" || e.ReadOnly != "false" || record.EventSource != "rolesanywhere.amazonaws.com" {
				t.Errorf("event %+v", e)
			}
			errors = append(errors, record.ErrorCode)
		}
		if got := strings.Join(errors, ","); got != ",ResourceNotFoundException," {
			t.Errorf("%q: errors %q: %s", pages, got, failure)
		}
	}
	if failure := call(&found, append(lookup, "--start-time", "2031-01-02", "--end-time", "2031-01-01")...); !strings.Contains(failure, "(InvalidTimeRangeException)") {
		t.Error(failure)
	}
	if failure := call(&found, "cloudtrail", "list-trails"); !strings.Contains(failure, "(UnknownOperationException)") || !strings.Contains(failure, "ListTrails") {
		t.Error(failure)
	}

	type subject struct {
		SubjectID, X509Subject, CreatedAt string
		Enabled                           bool
		Credentials                       []struct {
			SerialNumber, X509CertificateData string
			Failed                            bool
		}
	}
	var list struct{ Subjects []subject }
	if failure := call(&list, "rolesanywhere", "list-subjects"); len(list.Subjects) != 1 || !list.Subjects[0].Enabled {
		t.Fatalf("%+v: %s", list, failure)
	}
	var one struct{ Subject subject }
	failure := call(&one, "rolesanywhere", "get-subject", "--subject-id", list.Subjects[0].SubjectID)
	if one.Subject.X509Subject == "" || len(one.Subject.Credentials) != 1 || one.Subject.Credentials[0].Failed ||
		!strings.HasPrefix(one.Subject.Credentials[0].X509CertificateData, "-----BEGIN CERTIFICATE-----\n") {
		t.Errorf("%+v: %s", one, failure)
	}
}
