package credentials

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// An Entry is a set of credentials in a [Storage].
type Entry struct {
	Credentials Credentials
	Issued      time.Time // when the credentials were obtained
	Until       time.Time // do not use after, such as the certificate's expiry; zero: no such limit
}

// maxEntry is the maximum size of an encoded Entry, in bytes: the maximum
// payload of a kernel key. A regular Entry has about 2 KiB.
const maxEntry = 32<<10 - 1

// maxSkew is how far in the future the issue time of an Entry may be. If it is
// later, the clock was set back and the age of the Entry is unknown.
const maxSkew = time.Minute

// Key returns the name in a [Storage] of credentials that depend on parts.
// Different parts, or the same parts in another order or split differently,
// have a different name. The name does not reveal the parts, except to someone
// who guesses them.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{"holdfast cache 2"}, parts...) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p)))
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func isKey(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 2*sha256.Size
}

// entryVersion is the version of entryDocument. It is incremented when an older
// Holdfast would misread new entries.
const entryVersion = 1

// An entryDocument is the JSON form of an Entry. It contains its key, so that a
// renamed file is detected.
type entryDocument struct {
	Version         int       `json:"version"`
	Key             string    `json:"key"`
	Issued          time.Time `json:"issued"`
	Until           time.Time `json:"until,omitzero"`
	Expires         time.Time `json:"expires"`
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	SessionToken    string    `json:"session_token"`
	AccountID       string    `json:"account_id,omitempty"`
}

// checksum begins the last member of an encoded Entry, which is the SHA-256 of the object
// without that member. It detects a damaged disk, not a forger.
const checksum = `,"checksum":"`

// withChecksum returns a JSON object with its checksum.
func withChecksum(object []byte) []byte {
	return fmt.Appendf(nil, "%s%s%x\"}", object[:len(object)-1], checksum, sha256.Sum256(object))
}

// hasChecksum reports whether data are a result of withChecksum.
func hasChecksum(data []byte) bool {
	end := bytes.LastIndex(data, []byte(checksum))
	return end >= 0 && bytes.Equal(data, withChecksum(append(data[:end:end], '}')))
}

func (e Entry) encode(key string) ([]byte, error) {
	c := e.Credentials
	data, err := json.Marshal(entryDocument{
		entryVersion, key, e.Issued.UTC(), e.Until.UTC(), c.Expires.UTC(), c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.AccountID,
	})
	if err != nil { // a time outside of the years 0 to 9999
		return nil, err
	}
	if data = withChecksum(data); len(data) > maxEntry {
		err = fmt.Errorf("credentials of %d bytes are too large for the cache", len(data))
	}
	return data, err
}

// errCorrupt does not describe the content, because it may contain secrets.
var errCorrupt = errors.New("cache entry is damaged")

// errOlder is an entry of a version that is not read any more.
var errOlder = errors.New("cache entry was written by an older version of Holdfast")

// A newerError is an entry of a version that is not known yet. Nothing else is
// known about such an entry, not even its size or the type of its version.
type newerError struct{ key string }

func (e *newerError) Error() string {
	return fmt.Sprintf("cache entry %.12s was written by a newer version of Holdfast", e.key)
}

func isNewer(err error) bool {
	var newer *newerError
	return errors.As(err, &newer)
}

// isNewerVersion reports whether the version of an entry, if it has one, is not a
// number up to entryVersion. The data may be cut off after the version.
func isNewerVersion(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return false
	}
	for d.More() {
		var value json.RawMessage
		name, err := d.Token()
		if err != nil || d.Decode(&value) != nil {
			return false
		}
		if name == "version" {
			n, err := strconv.ParseFloat(string(value), 64)
			return err != nil || n > entryVersion
		}
	}
	return false
}

// decode decodes the JSON form of an Entry, and reports whether all members have the
// right type. It does not give the struct to package encoding/json, because to learn about
// a struct costs a process ten page faults.
func (d *entryDocument) decode(data []byte) bool {
	var document any
	if json.Unmarshal(data, &document) != nil {
		return false
	}
	members, ok := document.(map[string]any)
	text := func(name string) string {
		s, isText := members[name].(string)
		ok = ok && (isText || members[name] == nil)
		return s
	}
	instant := func(name string) (t time.Time) {
		if s := text(name); s != "" {
			ok = t.UnmarshalText([]byte(s)) == nil && ok
		}
		return t
	}
	version, isNumber := members["version"].(float64)
	_, isThere := members["version"]
	ok = ok && isNumber == isThere
	*d = entryDocument{
		int(version), text("key"), instant("issued"), instant("until"), instant("expires"),
		text("access_key_id"), text("secret_access_key"), text("session_token"), text("account_id"),
	}
	return ok && float64(d.Version) == version
}

func decodeEntry(key string, data []byte) (Entry, error) {
	var d entryDocument
	known := len(data) <= maxEntry && d.decode(data) && d.Version <= entryVersion
	switch {
	case !known && isNewerVersion(data):
		return Entry{}, &newerError{key}
	case !known || d.Key != key || d.Issued.IsZero():
		return Entry{}, errCorrupt
	case d.Version < entryVersion:
		return Entry{}, errOlder
	case !hasChecksum(data):
		return Entry{}, errCorrupt
	}
	e := Entry{
		Credentials: Credentials{d.AccessKeyID, d.SecretAccessKey, d.SessionToken, d.Expires, d.AccountID},
		Issued:      d.Issued, Until: d.Until,
	}
	if e.Credentials.Check(e.Issued) != nil {
		return Entry{}, errCorrupt
	}
	return e, nil
}

// valid reports whether e may be used at the time now.
func (e Entry) valid(now time.Time) bool {
	return e.Credentials.Check(now) == nil &&
		(e.Until.IsZero() || now.Before(e.Until)) && !now.Before(e.Issued.Add(-maxSkew))
}

// window returns how long before its expiry e is renewed: at most a third of its
// lifetime. If longest is 0, it is at most 20 minutes.
func (e Entry) window(longest time.Duration) time.Duration {
	if longest <= 0 {
		longest = defaultWindow
	}
	return min(longest, e.Credentials.Expires.Sub(e.Issued)/3)
}
