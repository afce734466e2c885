// Package credentials holds temporary AWS credentials, and keeps them valid.
//
// A [Source] creates new credentials with each call, as a rolesanywhere.Client
// does. Two types cache the credentials of a Source:
//
//   - [Cache] keeps credentials in memory for one process. It renews them
//     before they expire, and returns the old ones while they are valid if a
//     renewal fails. Use it in a daemon or a server.
//   - [Shared] shares credentials between the processes of one user, through a
//     [Folder] of files or the [Keyring] of the Linux kernel. Use it in a
//     command that runs often and for a short time.
//
// If several goroutines or processes need new credentials at once, one of them
// creates the credentials, and the others wait for them.
//
// [Credentials] print without their secret parts, whether with fmt, log/slog or
// encoding/json. Blank or expired credentials are never returned.
//
// The packages below provide credentials in the forms that AWS clients read:
// process (credential_process), container (the endpoint of ECS and EKS), podidentity
// (that endpoint for the pods of a Kubernetes node), imds (the metadata service of EC2)
// and sharedfile (~/.aws/credentials).
package credentials
