package emulator

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"sync"
	"time"
)

// maxSessions limits the memory for issued sessions.
const maxSessions = 10_000

// A session is the record of issued credentials. It is immutable once it is in the
// store.
type session struct {
	accessKeyID, secret, token string
	expires                    time.Time
	user                       assumedRoleUser
	account                    string

	roleARN    string
	source     string            // source identity
	tags       map[string]string // session tags, with those passed on by earlier sessions
	transitive []string          // the keys of the tags that are passed on
}

// newSession creates credentials with the lengths and alphabets that STS uses.
// It rounds the expiration down to whole seconds, because the response has no
// fractions.
func newSession(user assumedRoleUser, account string, expires time.Time) *session {
	return &session{
		accessKeyID: "ASIA" + rand.Text()[:16],
		secret:      randomBase64(30),
		token:       randomBase64(510),
		expires:     expires.UTC().Truncate(time.Second),
		user:        user,
		account:     account,
	}
}

func randomBase64(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// A store holds the issued sessions. The zero value is an empty store. It is
// safe for concurrent use.
type store struct {
	mu    sync.Mutex
	byKey map[string]*session
	order []*session // oldest first
}

// add adds a session. If the store is full, it removes the expired sessions
// and, if there are none, the oldest session.
func (st *store) add(s *session, now time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.byKey == nil {
		st.byKey = make(map[string]*session)
	}
	if len(st.order) >= maxSessions {
		st.order = slices.DeleteFunc(st.order, func(old *session) bool {
			expired := !old.expires.After(now)
			if expired {
				delete(st.byKey, old.accessKeyID)
			}
			return expired
		})
	}
	if len(st.order) >= maxSessions {
		delete(st.byKey, st.order[0].accessKeyID)
		st.order = slices.Delete(st.order, 0, 1)
	}
	st.byKey[s.accessKeyID] = s
	st.order = append(st.order, s)
}

// get returns the session of an access key, or nil. The session may have
// expired.
func (st *store) get(accessKeyID string) *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.byKey[accessKeyID]
}
