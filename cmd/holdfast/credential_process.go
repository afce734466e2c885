package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/process"
)

func (a app) credentialProcess() *cobra.Command {
	var id identityFlags
	var session sessionFlags
	cmd := &cobra.Command{
		Use:   "credential-process",
		Short: "Print credentials for an AWS client's credential_process",
		Long: `Creates a session with IAM Roles Anywhere and prints its credentials as one
JSON document, as the AWS CLI and SDKs read it from a credential_process.
Nothing else is printed; errors go to standard error, as one line and a hint.

Exit codes: 0 done, 1 other, 2 usage, 3 key or file not found or ambiguous,
4 PIN or password, 5 device unavailable or not supported, 6 refused by AWS,
7 AWS unreachable.`,
		Example: `  holdfast credential-process \
      --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN

  # in ~/.aws/config, the last on one line:
  [profile app]
  region = us-east-1
  credential_process = holdfast credential-process --certificate /app.p12 …`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runCredentialProcess(cmd, &id, &session)
		},
	}
	id.add(cmd)
	session.add(cmd)
	return cmd
}

// runCredentialProcess checks first what costs nothing, so that a person is
// not asked for a PIN in vain.
func (a app) runCredentialProcess(cmd *cobra.Command, id *identityFlags, session *sessionFlags) error {
	if err := id.check(cmd); err != nil {
		return err
	}
	if err := session.resolve(cmd, a); err != nil {
		return err
	}
	if err := session.transport(a); err != nil {
		return err
	}
	return a.printCredentials(cmd.Context(), id, session)
}

func (a app) printCredentials(ctx context.Context, id *identityFlags, session *sessionFlags) (err error) {
	s, err := id.open(ctx, a, session.debug)
	if err != nil {
		return err
	}
	defer s.Close()
	session.config.Signer = s
	session.config.CertificateName = id.certificateName()
	client, err := rolesanywhere.New(session.config)
	if err != nil {
		return err
	}
	creds, err := client.Credentials(ctx)
	if err != nil {
		return err
	}
	return process.Write(a.stdout, creds)
}
