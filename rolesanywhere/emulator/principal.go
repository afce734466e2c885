package emulator

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// Limits of the memory for issued sessions. With that of a role, the sessions of one role
// do not displace those of all others.
const (
	maxSessions     = 10_000
	maxRoleSessions = 1000
)

// administratorName is the name of the only IAM user.
const administratorName = "administrator"

// A session is the record of issued credentials, or of the credentials of the
// administrator. It is immutable once it is in its table.
type session struct {
	AccessKeyID string          `json:"accessKeyId"`
	Secret      string          `json:"secret"`
	Token       string          `json:"token,omitempty"`  // empty: of the administrator
	Expires     time.Time       `json:"expires,omitzero"` // zero: never
	Issued      time.Time       `json:"issued,omitzero"`
	User        assumedRoleUser `json:"user"`
	Account     string          `json:"account"`

	RoleARN    string            `json:"roleArn,omitempty"`        // empty: the administrator
	Source     string            `json:"sourceIdentity,omitempty"` // source identity
	Tags       map[string]string `json:"tags,omitempty"`           // session tags, with those passed on by earlier sessions
	Transitive []string          `json:"transitive,omitempty"`     // the keys of the tags that are passed on
}

// newSession creates credentials with the lengths and alphabets that STS uses.
// It rounds the expiration down to whole seconds, because the response has no
// fractions.
func newSession(user assumedRoleUser, account string, now time.Time, lifetime time.Duration) *session {
	return &session{
		AccessKeyID: "ASIA" + rand.Text()[:16],
		Secret:      randomBase64(30),
		Token:       randomBase64(510),
		Expires:     now.Add(lifetime).UTC().Truncate(time.Second),
		Issued:      now.UTC(),
		User:        user,
		Account:     account,
	}
}

func (s *session) isAdministrator() bool { return s.Token == "" }

func (s *session) expired(now time.Time) bool { return !s.Expires.IsZero() && !s.Expires.After(now) }

func randomBase64(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// addSession adds a session. If the table or the part of its role is full, it makes room.
func (s *Server) addSession(c *changes, issued *session) {
	ofRole := 0
	for _, r := range s.sessions.rows {
		if r.Value.RoleARN == issued.RoleARN {
			ofRole++
		}
	}
	if ofRole >= maxRoleSessions || len(s.sessions.keys) >= maxSessions {
		s.makeRoom(c, issued)
	}
	s.sessions.put(c, issued.AccessKeyID, issued)
}

// makeRoom removes the expired sessions and, if that is not enough for a new session, the
// oldest one of its role, or of another role if this one has none. It never removes the
// administrator.
func (s *Server) makeRoom(c *changes, issued *session) {
	left := len(s.sessions.keys)
	var own, others []string // the oldest first
	for key, old := range s.sessions.all() {
		switch {
		case old.isAdministrator():
		case old.expired(issued.Issued):
			s.sessions.remove(c, key)
			left--
		case old.RoleARN == issued.RoleARN:
			own = append(own, key)
		default:
			others = append(others, key)
		}
	}
	if len(own) >= maxRoleSessions || left >= maxSessions {
		s.sessions.remove(c, append(own, others...)[0])
	}
}

// Administrator returns the long-term credentials of the only IAM user. They are
// random, only this emulator accepts them, and they are in the state folder, if there
// is one.
func (s *Server) Administrator() credentials.Credentials {
	return credentials.Credentials{AccessKeyID: s.admin.AccessKeyID, SecretAccessKey: s.admin.Secret}
}

// addAdministrator finds the administrator in the state or creates one.
func (s *Server) addAdministrator(c *changes) {
	for _, known := range s.sessions.all() {
		if known.isAdministrator() {
			s.admin = known
			return
		}
	}
	s.admin = &session{
		AccessKeyID: "AKIA" + rand.Text()[:16],
		Secret:      randomBase64(30),
		Issued:      s.now().UTC(),
		User:        assumedRoleUser{ARN: "arn:" + partition(s.region) + ":iam::" + s.account + ":user/" + administratorName, ID: "AIDA" + rand.Text()[:17]},
		Account:     s.account,
	}
	s.sessions.put(c, s.admin.AccessKeyID, s.admin)
}
