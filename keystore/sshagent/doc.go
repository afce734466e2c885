// Package sshagent signs with the keys of an ssh-agent: that of OpenSSH, gpg-agent,
// yubikey-agent, ssh-tpm-agent and others. The agent keeps the key; the certificate
// comes from elsewhere, such as a file.
//
// The agent protocol (draft-ietf-sshm-ssh-agent) signs messages, not digests, and names
// no hash but those of SSH: an RSA key signs with PKCS #1 v1.5 and SHA-256 or SHA-512,
// an ECDSA key with the hash of its curve (SHA-256 with P-256, SHA-384 with P-384,
// SHA-512 with P-521), an Ed25519 key the message itself. Every other request fails with
// [errors.ErrUnsupported], and so does Sign with a digest. SHA-1 is never asked for, and
// an agent that makes such a signature is refused. Keys on security keys (sk-…) cannot
// serve: they sign more than the message.
//
// Each request has a connection of its own, at most four at a time for one key. So a key
// keeps working after its agent was restarted, no connection is idle, and no request
// for a signature, which a person may have seen, is ever repeated. An agent that is
// silent for 10 seconds when it is asked for its keys is given up. A signature may wait
// for a person, and the protocol does not tell: without the end of a context it is given
// up after 2 minutes. Answers are limited as in OpenSSH, to 256 KiB and 2048 keys, and
// each signature is verified before it is returned.
//
// A socket has to belong to this user or to root. The package has one exported type,
// [Backend], which package keystore uses. docs/ssh-agent.md is the guide for users.
package sshagent
