package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

func (a app) exec() *cobra.Command {
	var setup roleSetup
	var static bool
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARGUMENT]...",
		Short: "Run a command that has credentials for as long as it runs",
		Long: `Obtains credentials and runs a command that gets them, and new ones in time,
from a container credentials endpoint on this machine with a token of its own.
What else could give it AWS credentials is taken out of its environment. Nothing
is written to disk. The exit code is the command's, or 128 and the number of the
signal that ended it.

With --env the credentials themselves are put into the environment: for
programs that know no endpoint, and for no longer than the session lasts.`,
		Example: `  holdfast exec --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN -- aws s3 ls

  holdfast exec --env --certificate app.p12 … -- terraform plan`,
		Args: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error { return a.runExec(cmd, setup, static, args) },
	}
	setup.id.add(cmd)
	setup.session.add(cmd)
	cmd.Flags().BoolVar(&static, "env", false, "put the credentials into the environment, where they are not renewed")
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	return cmd
}

// A childError is a command that ran; its exit code is ours.
type childError struct{ code int }

func (e *childError) Error() string {
	return fmt.Sprintf("the command ended with exit code %d", e.code)
}

func (a app) runExec(cmd *cobra.Command, setup roleSetup, static bool, args []string) error {
	if len(args) == 0 {
		return signer.WithHint(usagef("no command is given"), "name it after the flags: holdfast exec … -- aws s3 ls")
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return signer.WithHint(err, "check the command's name and PATH")
	}
	a.typed = new(typedPINs)
	if err := setup.session.complete(cmd, a); err != nil {
		return err
	}
	all, err := setups(cmd, setup, "")
	if err != nil {
		return err
	}
	if err := all[0].session.connect(a); err != nil {
		return err
	}
	r, err := a.openRole(cmd.Context(), all[0])
	if err != nil {
		return err
	}
	defer r.source.Close()
	first, err := r.cache.Credentials(cmd.Context())
	if err != nil {
		return err
	}
	a.typed.stop()

	child := exec.Command(path, args[1:]...)
	child.Args[0] = args[0]
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if child.Env, err = withoutSecrets(os.Environ(), a.store(), setup.id); err != nil {
		return err
	}
	if static {
		child.Env = childEnv(child.Env, staticVariables(first), r.region, true)
		return runChild(cmd.Context(), child)
	}
	return a.execServed(cmd.Context(), r, child)
}

// execServed runs child with an endpoint of its own, besides its environment.
func (a app) execServed(ctx context.Context, r *role, child *exec.Cmd) (err error) {
	token := rand.Text()
	mux := http.NewServeMux()
	mux.Handle("/credentials", &container.Handler{Current: r.cache.Current, Token: func() string { return token }, RoleARN: r.arn})
	l, err := loopback.Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		return err
	}
	// Signals are the child's from now on.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	server := &loopback.Server{Handler: mux, Logger: a.logger(false)}
	go func() { served <- server.Serve(serving, l) }()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.keep(serving)
	}()
	child.Env = childEnv(child.Env, endpointVariables("http://"+l.Addr().String()+"/credentials", token), r.region, false)
	err = runChild(ctx, child)
	stop()
	<-kept
	select {
	case broken := <-served:
		if broken != nil {
			a.logger(false).Warn("the endpoint broke", "error", broken)
		}
	case <-time.After(time.Second): // whoever still asks is no child
	}
	return err
}

// runChild runs a command and passes signals on to it. The end of ctx counts
// only before the command starts.
func runChild(ctx context.Context, child *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	for _, s := range passedOn {
		if !signal.Ignored(s) { // as nohup has it: the child inherits that
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return signer.WithHint(err, "check that the command is a program that this user may run")
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if !hasItAlready(s) {
					_ = child.Process.Signal(s) // it may have ended
				}
			case <-ended:
				return
			}
		}
	}()
	err := child.Wait()
	close(ended)
	<-passed
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &childError{exitCode(exit.ProcessState)}
	}
	return err
}

// A variable is one of the environment that says where AWS clients find
// credentials, or which.
type variable struct {
	name   string // a * at the end stands for anything
	static bool   // with --env it is removed too
}

// removed are the variables that the child does not get from us. Precedence in
// the SDKs: keys in the environment, a profile, a web identity, the shared
// files, the container endpoint, the instance's metadata. With --env what comes
// after the keys does no harm and may be of use for calls with another profile.
var removed = []variable{
	{"AWS_ACCESS_KEY_ID", true},
	{"AWS_SECRET_ACCESS_KEY", true},
	{"AWS_SESSION_TOKEN", true},
	{"AWS_SECURITY_TOKEN", true},
	{"AWS_CREDENTIAL_EXPIRATION", true},
	{"AWS_CREDENTIAL_SCOPE", true},
	{"AWS_ACCOUNT_ID", true},
	{"AWS_ACCESS_KEY", true}, // old names of the SDK for Java
	{"AWS_SECRET_KEY", true},
	{"AMAZON_ACCESS_KEY_ID", true}, // older ones, which the SDKs for Ruby know
	{"AMAZON_SECRET_ACCESS_KEY", true},
	{"AMAZON_SESSION_TOKEN", true},
	{"AWS_CREDENTIAL_FILE", true}, // botocore asks it before the endpoint
	{"AWS_BEARER_TOKEN_*", true},  // comes before any signature
	{"AWS_PROFILE", true},         // the AWS CLI prefers a profile that is named
	{"AWS_DEFAULT_PROFILE", true},
	{"AWS_ROLE_ARN", true},
	{"AWS_ROLE_SESSION_NAME", true},
	{"AWS_WEB_IDENTITY_TOKEN_FILE", true},
	{"AWS_CONTAINER_*", true},
	{"AWS_EC2_METADATA_*", false}, // our endpoint comes before it
	{"AWS_SHARED_CREDENTIALS_FILE", false},
	{"BOTO_CONFIG", false},
}

// endpointVariables lead to an endpoint. The credentials file is hidden: keys of
// a [default] profile there would come first; so would those that botocore finds
// in the files of its predecessor.
func endpointVariables(uri, token string) []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + uri,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN=" + token,
		"AWS_EC2_METADATA_DISABLED=true", // nobody else's role if ours fails
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"BOTO_CONFIG=" + os.DevNull,
	}
}

func staticVariables(c credentials.Credentials) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + c.SessionToken,
		"AWS_CREDENTIAL_EXPIRATION=" + c.Expires.UTC().Format(time.RFC3339),
	}
}

// withoutSecrets returns env without the variables that hold the key, its
// certificates or its PIN.
func withoutSecrets(env []string, store *keystore.Store, id identityFlags) ([]string, error) {
	refs, err := id.resolved(store)
	if err != nil {
		return nil, err
	}
	source, _ := keystore.ParsePINSource(id.pinSource) // if there is one
	secrets := store.Uses(refs.Key, refs.Certificate, refs.Intermediates, source).Variables
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(secrets, func(secret string) bool { return sameVariable(secret, name) })
	}), nil
}

// childEnv returns env without what is removed, with added, and with a region.
func childEnv(env, added []string, region string, static bool) []string {
	var out []string
	regions := make(map[string]string)
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		if !isRemoved(name, static) {
			out = append(out, v)
		}
		regions[name] = value
	}
	out = append(out, added...)
	for _, pair := range [][2]string{{"AWS_REGION", "AWS_DEFAULT_REGION"}, {"AWS_DEFAULT_REGION", "AWS_REGION"}} {
		if regions[pair[0]] == "" {
			out = append(out, pair[0]+"="+cmp.Or(regions[pair[1]], region))
		}
	}
	return out
}

func isRemoved(name string, static bool) bool {
	for _, v := range removed {
		prefix, any := strings.CutSuffix(v.name, "*")
		part := name
		if any && len(name) > len(prefix) {
			part = name[:len(prefix)]
		}
		if sameVariable(part, prefix) && (v.static || !static) {
			return true
		}
	}
	return false
}

// sameVariable compares names as the operating system does.
func sameVariable(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}
