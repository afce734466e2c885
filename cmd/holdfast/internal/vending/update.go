package vending

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/sharedfile"
	"github.com/holdfast-dev/holdfast/signer"
)

type updateFlags struct {
	role    role.Flags
	profile string
	once    bool
}

// Update returns the command that writes credentials to a profile of the AWS
// credentials file and renews them.
func Update(a front.App) *cobra.Command {
	var f updateFlags
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Keep a profile of the AWS credentials file up to date",
		Long: `Creates sessions with IAM Roles Anywhere and writes their credentials to one
profile of the AWS credentials file. It renews them before they expire, until it
is interrupted. It reports failures on standard error and retries. The file is
$AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials.

Only aws_access_key_id, aws_secret_access_key and aws_session_token of the
profile are changed. The rest of the file is preserved byte for byte. Prefer
credential-process if the client supports it: it writes no secret to disk.`,
		Example: `  holdfast update --once --profile app \
      --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"

  # use a role from a configuration file and run until interrupted:
  holdfast update --profile app --config roles.toml --role app`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.role.Add(cmd)
	front.CredentialFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.profile, "profile", "default", "`name` of the profile to write")
		fs.BoolVar(&f.once, "once", false, "write credentials once and exit")
	})
	return cmd
}

// run checks the file and the flags before it opens the key, as
// credential-process does.
func (f *updateFlags) run(cmd *cobra.Command, a front.App) error {
	front.HideMemory()
	a, flush := a.WithLogWriter()
	defer flush()
	a.Log = progressLog(a, f.role.Session.Debug)
	a.Typed, a.LongRunning = new(front.TypedPINs), !f.once
	path, err := credentialsFile(a)
	if err != nil {
		return err
	}
	file := sharedfile.File{Path: path, Profile: f.profile, Logger: a.Log}
	if err := explainPlace(path, file.Probe()); err != nil {
		return err
	}
	setup, err := f.role.Setup(cmd, a)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	u := newUpdater(file, a.Now)
	r, err := setup.Open(ctx, a, u.replace)
	if err != nil {
		return err
	}
	defer r.Close()
	if f.once {
		r.RenewIfDue(ctx, a.Now())
		c, err := front.InterruptibleValue(ctx, setup.Key.Name(), func() (credentials.Credentials, error) {
			return r.Cache.Source.Credentials(ctx)
		})
		if err != nil {
			return err
		}
		return explainPlace(file.Path, file.Write(ctx, c))
	}
	go func() { // do not prompt on the terminal after the first attempt
		select {
		case <-r.Tried:
			a.Typed.Stop()
		case <-ctx.Done():
		}
	}()
	u.run(ctx, r.Keep)
	return nil
}

// progressLog returns a log that also reports successful writes.
func progressLog(a front.App, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(&front.LogHandler{W: a.Stderr, Level: level})
}

// credentialsFile returns the path at which AWS clients look for the
// credentials file.
func credentialsFile(a front.App) (string, error) {
	path := a.Env("AWS_SHARED_CREDENTIALS_FILE")
	if path != "" && !strings.HasPrefix(path, "~/") {
		return path, nil
	}
	name := "HOME"
	if runtime.GOOS == "windows" {
		name = "USERPROFILE"
	}
	home := a.Env(name)
	if home == "" {
		return "", signer.WithHint(front.Usagef("environment variable %s is not set", name),
			"set AWS_SHARED_CREDENTIALS_FILE to the path of the credentials file")
	}
	path = cmp.Or(strings.TrimPrefix(path, "~/"), filepath.Join(".aws", "credentials"))
	return filepath.Join(home, path), nil
}

// explainPlace names the credentials file in an error of the operating system,
// which is about its folder or a temporary file, and says how to move it.
func explainPlace(path string, err error) error {
	var foreign *fileowner.ForeignError
	if errors.As(err, &foreign) {
		return signer.WithHint(err, foreign.Hint()+"; if only root can read the key, set AWS_SHARED_CREDENTIALS_FILE to the path of a file elsewhere")
	}
	var system syscall.Errno
	if !errors.As(err, &system) || signer.Hint(err) != "" {
		return err
	}
	return signer.WithHint(fmt.Errorf("cannot write the credentials file %s: %w", path, err),
		"make the file and its folder writable, or set AWS_SHARED_CREDENTIALS_FILE to the path of a file elsewhere, for update and for its clients")
}

// An updater writes the credentials that a cache obtains to a file.
type updater struct {
	file    sharedfile.File
	now     func() time.Time
	pending chan credentials.Credentials // capacity 1: the latest credentials that run has not yet received
}

func newUpdater(file sharedfile.File, now func() time.Time) *updater {
	return &updater{file: file, now: now, pending: make(chan credentials.Credentials, 1)}
}

// replace passes c to run, and discards earlier credentials that run has not
// yet received. It does not block. Calls must not be concurrent.
func (u *updater) replace(c credentials.Credentials) {
	select {
	case <-u.pending:
	default:
	}
	u.pending <- c
}

// The pauses between attempts to write double from minRetryPause to
// maxRetryPause.
const (
	minRetryPause = time.Second
	maxRetryPause = time.Minute
)

// run writes credentials until ctx ends. Meanwhile it runs keep, which renews
// the credentials.
func (u *updater) run(ctx context.Context, keep func(context.Context)) {
	renewals := make(chan struct{})
	go func() {
		defer close(renewals)
		keep(ctx)
	}()
	var c credentials.Credentials
	var retry <-chan time.Time
	pause := minRetryPause
	for {
		select {
		case c = <-u.pending:
			pause = minRetryPause
		case <-retry:
		case <-ctx.Done():
			<-renewals
			return
		}
		retry = nil
		if c.Check(u.now()) != nil {
			continue // expired before they could be written
		}
		if err := explainPlace(u.file.Path, u.file.Write(ctx, c)); err != nil && ctx.Err() == nil {
			u.file.Logger.Warn("could not write the credentials", "error", err, "retry_in", pause)
			retry = time.After(pause)
			pause = min(2*pause, maxRetryPause)
		}
	}
}
