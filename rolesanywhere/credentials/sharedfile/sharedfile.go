// Package sharedfile writes credentials into one profile of the AWS shared
// credentials file. It changes nothing else in the file.
//
// Sources: AWS SDKs and Tools Reference Guide, "Using shared config and
// credentials files", and the behavior of clients that the guide does not
// describe; see clients.go.
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

	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// Errors of [File.Write]; test with errors.Is.
var (
	ErrProfile = errors.New("invalid profile name")
	ErrFormat  = errors.New("file cannot be changed safely")
	ErrLocked  = errors.New("file is locked by another process")
)

// MaxSize is the maximum size of the file in bytes. A file that is almost as
// large is refused, too, because later credentials may be longer.
const MaxSize = 4 << 20

// DefaultWait is how long [File.Write] waits for other writers by default.
const DefaultWait = 10 * time.Second

// A File is one profile in a shared credentials file. Its methods do not change
// it and are safe for concurrent use.
type File struct {
	// Path is the path of the file. If it is a symbolic link, its target is
	// replaced. A missing file is created with mode 0600, a missing folder
	// with mode 0700.
	Path    string
	Profile string

	Wait   time.Duration // maximum wait for the lock; 0: DefaultWait
	Logger *slog.Logger  // nil: discard
}

// Write writes c into the profile. It replaces the file atomically: readers see
// either the complete old file or the complete new file, even if this process
// is killed or the machine loses power. On error the file is unchanged.
//
// Write sets aws_access_key_id, aws_secret_access_key and aws_session_token. It
// sets aws_security_token and aws_account_id only if they exist, because
// clients would use their old values with the new key. If a key or the profile
// occurs more than once, Write sets each occurrence. It keeps everything else
// byte for byte, as well as the file's mode and owner.
//
// Write fails with [ErrFormat] if it cannot change the file such that the AWS
// clients read the new values and read all other profiles as before, or if it
// could not change the result again.
//
// If this process runs as root and the file is below a folder of another user,
// Write fails with an error that wraps [fs.ErrPermission].
//
// Calls of Write, in this and other processes, exclude each other with a lock
// on a separate file in the same folder. Other programs ignore this lock.
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

// change changes the file. The caller holds the lock.
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
		log.Warn("could not remove the temporary files of killed processes", "error", err)
	}
	syncErr, err := replace(path, changed.bytes(), info)
	if err != nil {
		return err
	}
	if syncErr != nil {
		log.Warn("the file was written, but a power failure may undo the change", "file", path, "error", syncErr)
	}
	if unreadable != nil {
		log.Warn("the AWS CLI and the AWS SDK for Python cannot read the file", "file", path, "reason", unreadable)
	}
	if info != nil && info.Mode().Perm()&0o006 != 0 && isPOSIX {
		log.Warn("every local user can read or change the file: run chmod 600 on it", "file", path)
	}
	log.Info("wrote credentials", "file", path, "profile", f.Profile,
		"lines_added", len(changed.lines)-len(old.lines), "credentials", c)
	return nil
}

// edit returns the current and the changed content of the file.
func (f File) edit(path string, data []byte, settings []setting) (old, changed text, unreadable, err error) {
	if old, err = parse(data); err == nil {
		changed = old.set(f.Profile, settings)
		unreadable, err = verify(old, changed, f.Profile, settings)
	}
	if err == nil {
		err = changed.renewable(f.Profile, settings)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return old, changed, unreadable, err
}

// renewable checks that the next Write accepts t, the text that this one writes.
// The values of settings may be shorter than those of later credentials.
func (t text) renewable(profile string, settings []setting) error {
	data := t.bytes()
	if len(data) > MaxSize-maxGrowth {
		return fmt.Errorf("%w: with new credentials, it would have more than %d bytes", ErrFormat, MaxSize)
	}
	next, err := parse(data)
	if err != nil {
		return err
	}
	_, err = verify(next, next.set(profile, settings), profile, settings)
	return err
}

// maxGrowth is how much longer later credentials may be, in bytes. AWS does not
// limit the size of session tokens, which have about 1 KiB.
const maxGrowth = 64 << 10

// Probe returns the error that Write would return because of the profile's name,
// the owner of the folder or the current content of the file. It changes
// nothing.
func (f File) Probe() error {
	if err := f.Check(); err != nil {
		return err
	}
	if err := fileowner.Check(f.Path); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", f.Path, err)
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

// Check returns an error that wraps [ErrProfile] if clients could not find a
// profile with this name. Write calls it, too.
func (f File) Check() error {
	p := f.Profile
	var why string
	switch {
	case p == "":
		why = "it is empty"
	case len(p) > 256:
		why = "it is longer than 256 bytes"
	case !utf8.ValidString(p):
		why = "it is not valid UTF-8"
	case strings.ContainsFunc(p, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		why = "it contains a line break or another control character"
	case strings.ContainsAny(p, "]#;"):
		why = "it contains ], # or ;"
	case strings.TrimSpace(p) != p:
		why = "it begins or ends with white space"
	case p == "DEFAULT":
		why = "Python clients apply [DEFAULT] to every profile; the default profile is default in lower case"
	case strings.HasPrefix(p, "profile "):
		why = "profile names in this file do not have the prefix \"profile \""
	default:
		return nil
	}
	return fmt.Errorf("%w: %.100q: %s", ErrProfile, p, why)
}

func (f File) logger() *slog.Logger { return logging.OrDiscard(f.Logger) }
