package agent

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

const (
	maxState = 64 << 10 // bytes; a session has about 2 KiB
	maxSkew  = time.Minute

	// stateHeader begins the file. A seal adds the word sealed. Then there is the
	// SHA-256 of the rest, which detects a damaged disk.
	stateHeader = "holdfast agent session 1"
)

// A keptSession is the content of a state file.
type keptSession struct {
	Key             string    `json:"key"` // of the configuration and the certificate
	Issued          time.Time `json:"issued"`
	Expires         time.Time `json:"expires"`
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	SessionToken    string    `json:"session_token"`
	AccountID       string    `json:"account_id"`
}

// A stateFile keeps the base session over restarts of the agent. It is safe for
// concurrent use.
type stateFile struct {
	path string
	seal cipher.AEAD // nil: the file is not encrypted
	key  func() (string, error)
	now  func() time.Time
	log  *slog.Logger
}

// errOther is a session of another configuration or certificate.
var errOther = errors.New("the session is one of another key or configuration")

// load returns the session of the file. It returns an error if there is none that can
// be used.
func (f *stateFile) load() (credentials.Credentials, error) {
	none := credentials.Credentials{}
	data, err := readOwn(f.path)
	if err != nil {
		return none, err
	}
	plain, err := f.open(data)
	if err != nil {
		return none, err
	}
	defer clear(plain)
	var s keptSession
	if json.Unmarshal(plain, &s) != nil { // its errors may quote secrets
		return none, errDamaged
	}
	key, err := f.key()
	if err != nil {
		return none, err
	}
	if s.Key != key {
		return none, errOther
	}
	c := credentials.Credentials{
		AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken,
		Expires: s.Expires, AccountID: s.AccountID,
	}
	now := f.now()
	switch {
	case s.Issued.After(now.Add(maxSkew)):
		return none, errors.New("the session was obtained in the future, so the clock was set back")
	case s.Expires.After(s.Issued.Add(rolesanywhere.MaxDuration + maxSkew)):
		return none, errDamaged
	case !s.Expires.After(now):
		return none, errExpired
	}
	return c, c.Check(now)
}

var (
	errDamaged = errors.New("the file is damaged, or was sealed with another key")
	errExpired = errors.New("the session has expired")
)

// readOwn reads a regular file that only this user could have written.
func readOwn(path string) ([]byte, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	// A pipe that takes the place of the file would block Open for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|fileowner.Nonblock, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, info) {
		return nil, errors.New("it was replaced while it was read")
	}
	if why := fileowner.Exposed(info); why != "" {
		return nil, errors.New("it " + why)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err == nil && len(data) > maxState {
		err = errDamaged
	}
	return data, err
}

// header is the first line of the file without its hash.
func (f *stateFile) header() string {
	if f.seal != nil {
		return stateHeader + " sealed"
	}
	return stateHeader
}

// open returns the document in the content of a file.
func (f *stateFile) open(data []byte) ([]byte, error) {
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(line) != fmt.Sprintf("%s %x", f.header(), sha256.Sum256(rest)) {
		return nil, errDamaged
	}
	if f.seal == nil {
		return bytes.Clone(rest), nil
	}
	n := f.seal.NonceSize()
	if len(rest) < n {
		return nil, errDamaged
	}
	plain, err := f.seal.Open(nil, rest[:n], rest[n:], []byte(f.header()))
	if err != nil {
		return nil, errDamaged
	}
	return plain, nil
}

// save replaces the session in the file.
func (f *stateFile) save(c credentials.Credentials) error {
	if err := fileowner.Check(f.path); err != nil {
		return err
	}
	key, err := f.key()
	if err != nil {
		return err
	}
	content, err := json.Marshal(keptSession{key, f.now().UTC(), c.Expires.UTC(), c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.AccountID})
	if err != nil {
		return err
	}
	if f.seal != nil {
		plain := content
		nonce := make([]byte, f.seal.NonceSize())
		_, _ = rand.Read(nonce) // it never fails
		content = f.seal.Seal(nonce, nonce, plain, []byte(f.header()))
		clear(plain)
	}
	data := fmt.Appendf(nil, "%s %x\n%s", f.header(), sha256.Sum256(content), content)
	file := atomicfile.File{Name: f.path}
	if err := file.Replace(data); err != nil {
		return err
	}
	return file.SyncFolder()
}

// A keptSource is a source that first returns the session of a state file, and saves
// each new one in it. It is for one [credentials.Cache], which does not call it
// concurrently.
type keptSource struct {
	file   *stateFile
	source credentials.Source
	tried  bool // to load
}

// Credentials implements [credentials.Source].
func (k *keptSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	if !k.tried {
		k.tried = true
		c, err := k.file.load()
		switch {
		case err == nil:
			k.file.log.Info("the session of the last run is used", "file", k.file.path, "expires", c.Expires.UTC().Format(time.RFC3339))
			return c, nil
		case errors.Is(err, fs.ErrNotExist):
			k.file.log.Info("no session is kept yet; a new one will be created", "file", k.file.path)
		case errors.Is(err, errExpired), errors.Is(err, errOther):
			k.file.log.Info("there is no session of the last run that can be used", "file", k.file.path, "reason", err)
		default:
			k.file.log.Warn("the session of the last run is not used, and will be replaced", "file", k.file.path, "error", err)
		}
	}
	c, err := k.source.Credentials(ctx)
	if err != nil {
		return c, err
	}
	if err := k.file.save(c); err != nil {
		k.file.log.Warn("the session was not saved, so that the next start needs a new one", "file", k.file.path, "error", err)
	}
	return c, nil
}
