package main

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/sharedfile"
	"github.com/holdfast-dev/holdfast/signer"
)

type updateFlags struct {
	role    roleSetup
	profile string
	once    bool
}

func (a app) update() *cobra.Command {
	var f updateFlags
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Keep credentials in the AWS credentials file",
		Long: `Creates a session with IAM Roles Anywhere, writes its credentials into one
profile of the AWS shared credentials file, and goes on to do so ahead of their
end until it is interrupted. Failures are told on standard error and tried
again. The file is $AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials.

Of the file only aws_access_key_id, aws_secret_access_key and
aws_session_token of the profile change. All else stays byte for byte. Prefer
credential-process where it is possible: it puts no secret on a disk.`,
		Example: `  holdfast update --once \
      --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN

  # another profile, until it is interrupted
  holdfast update --profile app --certificate cert.pem …`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUpdate(cmd, &f) },
	}
	f.role.id.add(cmd)
	f.role.session.add(cmd)
	cmd.Flags().StringVar(&f.profile, "profile", "default", "`name` of the profile to write")
	cmd.Flags().BoolVar(&f.once, "once", false, "write credentials once and exit")
	return cmd
}

// runUpdate checks first what costs nothing, as runCredentialProcess does.
func (a app) runUpdate(cmd *cobra.Command, f *updateFlags) error {
	a.log = a.narrator(f.role.session.debug)
	a.typed = new(typedPINs)
	path, err := a.credentialsFile()
	if err != nil {
		return err
	}
	file := sharedfile.File{Path: path, Profile: f.profile, Logger: a.log}
	if err := file.Probe(); err != nil {
		return err
	}
	if err := f.role.session.complete(cmd, a); err != nil {
		return err
	}
	roles, err := setups(cmd, f.role, "")
	if err != nil {
		return err
	}
	if err := roles[0].session.connect(a); err != nil {
		return err
	}
	ctx := cmd.Context()
	r, err := a.openRole(ctx, roles[0])
	if err != nil {
		return err
	}
	defer r.source.Close()
	if f.once {
		c, err := r.source.Credentials(ctx)
		if err != nil {
			return err
		}
		return file.Write(ctx, c)
	}
	go func() { // nobody waits at the terminal any more
		<-r.source.firstEnded
		a.typed.stop()
	}()
	u := updater{source: r.source, now: a.now, ended: ctx, fresh: make(chan credentials.Credentials)}
	r.cache.Source = &u
	u.run(file, r.keep)
	return nil
}

// narrator logs also what goes as it should.
func (a app) narrator(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(&logHandler{w: a.stderr, level: level})
}

// credentialsFile returns the path by which the AWS clients find the file.
func (a app) credentialsFile() (string, error) {
	path := a.env("AWS_SHARED_CREDENTIALS_FILE")
	if path != "" && !strings.HasPrefix(path, "~/") {
		return path, nil
	}
	name := "HOME"
	if runtime.GOOS == "windows" {
		name = "USERPROFILE"
	}
	home := a.env(name)
	if home == "" {
		return "", signer.WithHint(usagef("environment variable %s is not set", name),
			"set AWS_SHARED_CREDENTIALS_FILE to the path of the credentials file")
	}
	path = cmp.Or(strings.TrimPrefix(path, "~/"), filepath.Join(".aws", "credentials"))
	return filepath.Join(home, path), nil
}

// An updater writes each of the credentials that a cache obtains.
type updater struct {
	source credentials.Source
	now    func() time.Time
	ended  context.Context              // the command's, which also ends what the cache detaches
	fresh  chan credentials.Credentials // to be written
}

// Credentials implements [credentials.Source] for the cache, which calls it
// once at a time.
func (u *updater) Credentials(ctx context.Context) (credentials.Credentials, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ended, cancel)()
	c, err := u.source.Credentials(ctx)
	if err == nil {
		err = c.Check(u.now())
	}
	if err != nil {
		return credentials.Credentials{}, err
	}
	select {
	case u.fresh <- c:
	case <-u.ended.Done():
	}
	return c, nil
}

// The pauses between two tries to write; each is twice as long as the last.
const (
	firstRewrite = time.Second
	lastRewrite  = time.Minute
)

// run writes until u.ended; so long keep has the cache renew.
func (u *updater) run(file sharedfile.File, keep func(context.Context)) {
	ctx := u.ended
	renewals := make(chan struct{})
	go func() {
		defer close(renewals)
		keep(ctx)
	}()
	var c credentials.Credentials
	var again <-chan time.Time
	pause := firstRewrite
	for {
		select {
		case c = <-u.fresh:
			pause = firstRewrite
		case <-again:
		case <-ctx.Done():
			<-renewals
			return
		}
		again = nil
		if c.Check(u.now()) != nil {
			continue // they ended while they could not be written
		}
		if err := file.Write(ctx, c); err != nil && ctx.Err() == nil {
			file.Logger.Warn("credentials were not written", "error", err, "retry_in", pause)
			again = time.After(pause)
			pause = min(2*pause, lastRewrite)
		}
	}
}
