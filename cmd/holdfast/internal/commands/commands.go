// Package commands is the table of the commands of the program holdfast. Package cli
// runs them, and the program manual describes them.
package commands

import (
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/blob"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/doctor"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/issuing"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/keys"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/local"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/renewing"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/sshagent"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/vending"
)

// Headings of the groups of commands in the help.
const (
	credentialCommands = "Credentials for AWS clients"
	keyCommands        = "Keys"
	certCommands       = "Certificates"
	localCommands      = "Local testing without AWS"
)

// All lists the commands. The help sorts them by name. It must not be changed.
var All = []front.Command{
	{Name: "credential-process", Group: credentialCommands, New: vending.CredentialProcess, DefaultSignals: true}, // catches signals only while it creates a session
	{Name: "serve", Group: credentialCommands, New: vending.Serve, Serves: true},
	{Name: "agent", Group: credentialCommands, New: agent.Agent, Serves: true},
	{Name: "exec", Group: credentialCommands, New: vending.Exec},
	{Name: "update", Group: credentialCommands, New: vending.Update},
	{Name: "cache", Group: credentialCommands, New: vending.Cache},
	{Name: "generate", Group: keyCommands, New: keys.Generate},
	{Name: "list", Group: keyCommands, New: keys.List},
	{Name: "seal", Group: keyCommands, New: keys.Seal},
	{Name: "sign-string", Group: keyCommands, New: keys.SignString},
	{Name: "sign-blob", Group: keyCommands, New: blob.SignBlob},
	{Name: "verify-blob", Group: keyCommands, New: blob.VerifyBlob},
	{Name: "read-certificate-data", Group: keyCommands, New: keys.ReadCertificateData},
	{Name: "ssh-agent", Group: keyCommands, New: sshagent.SSHAgent},
	{Name: "csr", Group: certCommands, New: issuing.CSR},
	{Name: "attest", Group: certCommands, New: issuing.Attest},
	{Name: "ca", Group: certCommands, New: issuing.CA},
	{Name: "install", Group: certCommands, New: issuing.Install},
	{Name: "verify", Group: certCommands, New: issuing.Verify},
	{Name: "enroll", Group: certCommands, New: renewing.Enroll},
	{Name: "renew", Group: certCommands, New: renewing.Renew},
	{Name: "emulator", Group: localCommands, New: local.Emulator},
	{Name: "demo", Group: localCommands, New: local.Demo},
	{Name: "doctor", Group: credentialCommands, New: doctor.Doctor},
	{Name: doctor.ProbeName, New: doctor.ProbeModule},
	{Name: "version", New: version, DefaultSignals: true},
}

// Offers lists the completions that depend on the machine. It must not be changed.
var Offers = []front.Offer{
	{Value: "reference", Texts: keys.OfferReferences},
	{Flag: "role", Texts: role.OfferNames},
}
