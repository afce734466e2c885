// Package sharedfile writes credentials into one profile of the AWS shared
// credentials file, and changes nothing else in it.
//
// Sources: AWS SDKs and Tools Reference Guide, "Using shared config and
// credentials files"; and what the clients do where the guide is silent, see
// clients.go.
package sharedfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// Errors of [File.Write]; test with errors.Is.
var (
	ErrProfile = errors.New("profile cannot have this name")
	ErrFormat  = errors.New("file cannot be changed without harm")
	ErrLocked  = errors.New("file is locked by another process")
)

// MaxSize is the size in bytes from which on a file is refused.
const MaxSize = 4 << 20

// DefaultWait is how long [File.Write] waits for other writers.
const DefaultWait = 10 * time.Second

// A File is one profile in a shared credentials file. It is not changed by
// being used; its methods are safe for concurrent use.
type File struct {
	// Path names the file. If it is a symbolic link the file that it leads
	// to is replaced. The file is made if it is not there, mode 0600, and
	// so is its folder, mode 0700.
	Path    string
	Profile string

	Wait   time.Duration // for a lock that another process holds; 0: DefaultWait
	Logger *slog.Logger  // nil: discard
}

// Write puts c into the profile. Readers see the whole old file or the whole
// new one, whenever this process or the machine stops; if Write returns an
// error the file is as it was.
//
// It sets aws_access_key_id, aws_secret_access_key and aws_session_token;
// aws_security_token and aws_account_id only where they are already, since
// clients would use them with the new key. Where a key or the profile occurs
// more than once, each is set. All else is kept byte for byte, and so are the
// file's mode and owner.
//
// A file that cannot be changed so that the AWS clients read the new values,
// and the old ones in all other profiles, is refused with ErrFormat.
//
// Processes take turns by a lock on a file beside the credentials file; other
// programs do not know of it.
func (f File) Write(ctx context.Context, c credentials.Credentials) error {
	if err := f.Check(); err != nil {
		return err
	}
	settings, err := newSettings(c)
	if err != nil {
		return err
	}
	path, err := resolve(f.Path)
	if err != nil {
		return err
	}
	wait := f.Wait
	if wait <= 0 {
		wait = DefaultWait
	}
	unlock, err := lock(ctx, path, wait)
	if err != nil {
		return err
	}
	defer unlock()
	return f.change(path, settings, c)
}

// change does the work while nobody else does.
func (f File) change(path string, settings []setting, c credentials.Credentials) error {
	data, info, err := read(path)
	if err != nil {
		return err
	}
	old, changed, unreadable, err := f.edit(path, data, settings)
	if err != nil {
		return err
	}
	log := f.logger()
	if err := removeLeftovers(path); err != nil {
		log.Warn("what a killed process left could not be looked for", "error", err)
	}
	durable, err := replace(path, changed.bytes(), info)
	if err != nil {
		return err
	}
	if durable != nil {
		log.Warn("the file was written, but may be the old one after a power cut", "file", path, "error", durable)
	}
	if unreadable != nil {
		log.Warn("the AWS CLI and the AWS SDK for Python cannot read the file", "file", path, "reason", unreadable)
	}
	if info != nil && info.Mode().Perm()&0o006 != 0 && isPOSIX {
		log.Warn("every local user can read or change the file; chmod 600 it", "file", path)
	}
	log.Info("wrote credentials", "file", path, "profile", f.Profile,
		"lines_added", len(changed.lines)-len(old.lines), "credentials", c)
	return nil
}

// edit returns what is in the file, and what is to be.
func (f File) edit(path string, data []byte, settings []setting) (old, changed text, unreadable, err error) {
	if old, err = parse(data); err == nil {
		changed = old.set(f.Profile, settings)
		unreadable, err = verify(old, changed, f.Profile, settings)
	}
	if err == nil && len(changed.bytes()) > MaxSize {
		err = fmt.Errorf("%w: it would have more than %d bytes", ErrFormat, MaxSize)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return old, changed, unreadable, err
}

// Probe returns the error that Write would return because of the profile's name
// or what the file holds now, and changes nothing.
func (f File) Probe() error {
	if err := f.Check(); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(f.Path)
	if err != nil {
		return ignore(err, fs.ErrNotExist)
	}
	data, _, err := read(path)
	if err != nil {
		return err
	}
	settings, err := newSettings(credentials.Credentials{AccessKeyID: "x", SecretAccessKey: "x", SessionToken: "x", AccountID: "x"})
	if err != nil {
		return err
	}
	_, _, _, err = f.edit(path, data, settings)
	return err
}

// Check returns an error that wraps ErrProfile if clients could not find a
// profile of this name. Write checks it too.
func (f File) Check() error {
	p := f.Profile
	var why string
	switch {
	case p == "":
		why = "it is empty"
	case len(p) > 256:
		why = "it is longer than 256 bytes"
	case !utf8.ValidString(p):
		why = "it is not UTF-8"
	case strings.ContainsFunc(p, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		why = "it has a line end or another control character"
	case strings.ContainsAny(p, "]#;"):
		why = "no name has ], # or ;"
	case strings.TrimSpace(p) != p:
		why = "it begins or ends with a blank"
	case p == "DEFAULT":
		why = "what stands under DEFAULT counts for every profile in Python; it is default, in small letters"
	case strings.HasPrefix(p, "profile "):
		why = "in this file names stand without the word profile"
	default:
		return nil
	}
	return fmt.Errorf("%w: %.100q: %s", ErrProfile, p, why)
}

func (f File) logger() *slog.Logger { return logging.OrDiscard(f.Logger) }
