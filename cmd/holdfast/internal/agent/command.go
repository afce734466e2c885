// Package agent implements holdfast agent, which gives the pods of a Kubernetes node the
// credentials of their own roles. Within Holdfast, it imports front, flags, role,
// service, systemd and the libraries.
package agent

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
	"github.com/holdfast-dev/holdfast/signer"
)

type agentFlags struct {
	role      role.Flags
	config    config
	logFormat front.LogFormat
}

// Agent returns the command that serves credentials to the pods of a node.
func Agent(a front.App) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Serve credentials to the pods of a Kubernetes node",
		Long: `Gives each pod of this node the credentials of the role of its service account,
at the addresses and in the format of EKS Pod Identity, so that AWS clients need
no change. A pod proves its identity with a projected token of its service
account, which the agent lets the API server check.

The agent obtains a session of a base role with the key of the node, for 12
hours if no duration is given. With this session it assumes the roles of pods,
with session tags for their namespace and service account. --pods maps service
accounts to roles:

  [[pod]]
  namespace = "shop"
  service_account = "checkout"
  role_arn = "arn:aws:iam::111122223333:role/checkout"

It reads this file again when it changes and on SIGHUP; see docs/agent.md.
docs/kubernetes.md describes the set-up of a cluster.`,
		Example: `  # once after each boot, as root:
  holdfast agent add-address

  holdfast agent --config /etc/holdfast/node.toml \
      --pods /etc/holdfast/pods.toml --node-name node-1 \
      --status-listen 127.0.0.1:2705 --log-format json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.role.AddFile(cmd)
	f.role.Identity.Add(cmd)
	f.role.Session.Add(cmd)
	f.role.Assume.AddEndpoint(cmd)
	c := &f.config
	front.PodFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&c.pods, "pods", "", "TOML `file` with the roles of service accounts; see docs/agent.md")
		fs.StringVar(&c.cluster.name, "cluster-name", "", "`name` of the cluster, for the session tag "+tagClusterName)
		fs.StringVar(&c.cluster.arn, "cluster-arn", "", "`ARN` of the cluster, for the session tag "+tagClusterARN+"; it need not be one of EKS")
		fs.StringVar(&c.audience, "audience", podidentity.DefaultAudience, "`audience` of the tokens of pods")
		fs.BoolVar(&c.sameAddress, "same-address", false, "refuse a token that comes from another address than in its first request of the last minute")
	})
	front.KubernetesFlags.Define(cmd.Flags(), c.kubernetes.add)
	front.KubernetesFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&c.node, "node-name", "", "`name` of this node; tokens of pods of other nodes are refused (default: NODE_NAME)")
	})
	front.ListenFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		front.ListVar(fs, &c.listen, "listen", "`address` to listen on, HOST:PORT; can be repeated; AWS clients accept "+address4+", ["+address6+"] and loopback addresses (default: "+address4+":"+defaultPort+" and, with IPv6, ["+address6+"]:"+defaultPort+")")
		fs.StringVar(&c.statusListen, "status-listen", "", "`address` for /healthz, /readyz and /metrics, such as 127.0.0.1:2705 (default: none)")
		fs.BoolVar(&c.allowRemote, "allow-remote", false, "allow a --status-listen that other machines can reach")
	})
	front.StateFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&c.state, "state", "", "`file` that keeps the session of the base role over restarts (default: none)")
		fs.StringVar(&c.stateSeal, "state-seal", "", "`reference` of a key that encrypts the file of --state, such as tpm:path=FILE; it is made if it does not exist (default: the file is not encrypted)")
	})
	front.OutputFlags.Define(cmd.Flags(), f.logFormat.Add)
	cmd.AddCommand(addAddress(a))
	return cmd
}

func (k *kubernetes) add(fs *pflag.FlagSet) {
	fs.StringVar(&k.url, "kubernetes-url", "", "`URL` of the API server (default: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT)")
	fs.StringVar(&k.ca, "kubernetes-ca", "", "PEM `file` of the CA of the API server (default: ca.crt in "+serviceAccountFolder+")")
	fs.StringVar(&k.token, "kubernetes-token-file", "", "`file` with the token of the agent's own service account (default: token in "+serviceAccountFolder+", unless there is a client certificate)")
	fs.StringVar(&k.certificate, "kubernetes-client-certificate", "", "PEM `file` of a client certificate for the API server, such as that of the kubelet")
	fs.StringVar(&k.key, "kubernetes-client-key", "", "PEM `file` of the key of the client certificate; may be the same file")
}

func (f *agentFlags) run(cmd *cobra.Command, a front.App) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before slow calls: an early SIGHUP must not be lost
	defer signal.Stop(hangup)

	front.HideMemory()
	cfg := f.config
	if err := cfg.complete(a); err != nil {
		return err
	}
	if err := f.logFormat.Check(); err != nil {
		return err
	}
	var closeLog func()
	a.Log, closeLog = f.logFormat.Open(a.Stderr, f.role.Session.Debug)
	defer closeLog()
	a.Typed, a.LongRunning = new(front.TypedPINs), true
	cfg.log, cfg.reload = a.Log, hangup
	setup, err := f.role.Setup(cmd, a)
	if err != nil {
		return err
	}
	if setup.Chain.RoleARN != "" {
		return signer.WithHint(front.Usagef("--config %s: [role.assume] is set, but the agent assumes the roles of pods itself", f.role.ConfigFile),
			"remove [role.assume]; role_arn is the base role, and the file of --pods has the other roles")
	}
	if setup.Port != 0 {
		return signer.WithHint(front.Usagef("--config %s: port is set, but pods use the addresses of --listen", f.role.ConfigFile), "remove port")
	}
	if cfg.setup = setup; cfg.state != "" {
		if cfg.trust, err = f.trust(a); err != nil {
			return err
		}
	}
	return run(cmd.Context(), a, cfg)
}

// trust identifies the servers that the connection to AWS trusts.
func (f *agentFlags) trust(a front.App) (string, error) {
	connection, err := f.role.Session.Connection(a)
	if err != nil {
		return "", err
	}
	return connection.Trust(a), nil
}

// complete sets the defaults of the environment and checks the settings.
func (c *config) complete(a front.App) (err error) {
	if c.node == "" {
		c.node = a.Env("NODE_NAME")
	}
	switch {
	case c.pods == "":
		return signer.WithHint(front.Usagef("--pods is not given"), "name the file with the roles of service accounts; see docs/agent.md for an example")
	case c.node == "":
		return signer.WithHint(front.Usagef("--node-name is not given, and NODE_NAME is not set"),
			"give the name that the node has in the cluster, such as with kubectl get nodes; in a pod, set NODE_NAME from spec.nodeName")
	case c.cluster.arn != "" && !isARN(c.cluster.arn):
		return signer.WithHint(front.Usagef("--cluster-arn %q is not an ARN", c.cluster.arn),
			"the ARN of a cluster of EKS is arn:aws:eks:REGION:ACCOUNT:cluster/NAME; another cluster may have any ARN")
	case c.stateSeal != "" && c.state == "":
		return signer.WithHint(front.Usagef("--state-seal is given without --state"), "name the file to encrypt with --state")
	}
	if c.kubernetes, err = c.kubernetes.withDefaults(a.Env); err != nil {
		return err
	}
	for _, addr := range c.listen {
		if err := checkListen(addr); err != nil {
			return err
		}
	}
	return nil
}

// isARN reports whether s has the form of an ARN: arn and five more parts.
func isARN(s string) bool { return strings.HasPrefix(s, "arn:") && strings.Count(s, ":") >= 5 }

// defaultDuration is the duration of the session of the base role. It is long because
// the agent renews it itself, and each of the nodes of a cluster needs one.
const defaultDuration = 12 * time.Hour

// withDuration returns a configuration that asks for the default duration if it has
// none.
func withDuration(c rolesanywhere.Config) rolesanywhere.Config {
	if c.Duration == 0 {
		c.Duration = defaultDuration
	}
	return c
}
