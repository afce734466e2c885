package interop

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The AWS CLI manages a role and its policies as guides to Roles Anywhere do, and assumes
// the role as the administrator.
func TestAWSCLIManagesRole(t *testing.T) {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	server, err := emulator.New(emulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"trust.json": `{
  "Version": "2012-10-17",
  "Statement": [{
    "Effect": "Allow",
    "Principal": {"Service": "rolesanywhere.amazonaws.com", "AWS": "111122223333"},
    "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
  }]
}`,
		"closed.json":      `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`,
		"permissions.json": `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	administrator := server.Administrator()
	run := func(args string) (out string, failed bool) {
		t.Helper()
		cmd := exec.Command(aws, append([]string{"--endpoint-url", web.URL, "--output", "text"}, strings.Fields(args)...)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
			"AWS_ACCESS_KEY_ID=" + administrator.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + administrator.SecretAccessKey}
		b, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(b)), err != nil
	}
	const policy = "arn:aws:iam::111122223333:policy/read"
	const assume = "sts assume-role --role-arn arn:aws:iam::111122223333:role/app/uploader --role-session-name me --duration-seconds 7200 --query AssumedRoleUser.Arn"
	for _, step := range []struct{ args, want string }{
		{"iam create-role --role-name uploader --path /app/ --assume-role-policy-document file://trust.json --max-session-duration 7200 --tags Key=Team,Value=blue --query Role.Arn", "arn:aws:iam::111122223333:role/app/uploader"},
		{"iam create-policy --policy-name read --policy-document file://permissions.json --query Policy.Arn", policy},
		{"iam attach-role-policy --role-name uploader --policy-arn " + policy, ""},
		{"iam attach-role-policy --role-name uploader --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess", ""},
		{"iam put-role-policy --role-name uploader --policy-name inline --policy-document file://permissions.json", ""},
		{"iam get-role --role-name uploader --query Role.[Path,MaxSessionDuration,AssumeRolePolicyDocument.Statement[0].Principal.Service,Tags[0].Value]", "/app/\t7200\trolesanywhere.amazonaws.com\tblue"},
		{"iam list-roles --page-size 1 --query Roles[].RoleName", "uploader"},
		{"iam list-attached-role-policies --role-name uploader --query AttachedPolicies[].PolicyName", "read\tReadOnlyAccess"},
		{"iam list-role-policies --role-name uploader --query PolicyNames", "inline"},
		{"iam get-role-policy --role-name uploader --policy-name inline --query PolicyDocument.Statement[0].Action", "s3:ListAllMyBuckets"},
		{"iam get-policy-version --policy-arn " + policy + " --version-id v1 --query PolicyVersion.Document.Statement[0].Resource", "*"},
		{"iam list-policies --scope Local --query Policies[].AttachmentCount", "1"},
		{"iam list-role-tags --role-name uploader --query Tags[].Key", "Team"},
		{"iam list-instance-profiles-for-role --role-name uploader --query length(InstanceProfiles)", "0"},
		{"iam get-user --query User.UserName", "administrator"},
		{"sts get-caller-identity --query Arn", "arn:aws:iam::111122223333:user/administrator"},
		{assume, "arn:aws:sts::111122223333:assumed-role/uploader/me"},
		{"iam update-assume-role-policy --role-name uploader --policy-document file://closed.json", ""},
		{assume, "!(AccessDenied)"},
		{"iam create-role --role-name Uploader --assume-role-policy-document file://trust.json", "!(EntityAlreadyExists) when calling the CreateRole operation: Role with name Uploader already exists."},
		{"iam delete-role --role-name uploader", "!(DeleteConflict) when calling the DeleteRole operation: Cannot delete entity, must detach all policies first."},
		{"iam detach-role-policy --role-name uploader --policy-arn " + policy, ""},
		{"iam detach-role-policy --role-name uploader --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess", ""},
		{"iam delete-role-policy --role-name uploader --policy-name inline", ""},
		{"iam delete-policy --policy-arn " + policy, ""},
		{"iam delete-role --role-name uploader", ""},
		{"iam get-role --role-name uploader", "!(NoSuchEntity) when calling the GetRole operation: The role with name uploader cannot be found."},
		{"iam list-roles --query length(Roles)", "0"},
		{"iam create-user --user-name me", "!(InvalidAction)"},
	} {
		out, failed := run(step.args)
		if want, fails := strings.CutPrefix(step.want, "!"); failed != fails || fails && !strings.Contains(out, want) || !fails && out != want {
			t.Errorf("aws %s: %q, want %q", step.args, out, step.want)
		}
	}
}
