// Package credentials holds temporary AWS credentials, and keeps them valid.
//
// A [Source] makes new credentials with each call, as a rolesanywhere.Client
// does. Two types stand before a Source:
//
//   - [Cache] keeps credentials in memory for one process, renews them ahead of
//     need, and gives out those that are valid when a renewal fails. It is what a
//     daemon or a server wants.
//   - [Shared] shares them between the processes of one user, through a [Folder]
//     of files or the [Keyring] of the Linux kernel. It is what a command wants
//     that is started again and again.
//
// However many goroutines or processes ask at once, one of them makes new
// credentials, and the others wait for these.
//
// [Credentials] print without their secret parts, with package fmt, log/slog and
// encoding/json alike. Blank or expired credentials are never given out.
//
// The packages below write credentials in the ways that AWS clients read them:
// process (credential_process), container (the endpoint of ECS and EKS), imds (the
// metadata service of EC2) and sharedfile (~/.aws/credentials).
package credentials
