package pkcs11

import (
	"crypto/sha256"
	"sync"

	"github.com/holdfast-dev/holdfast/signer"
)

// The flags of a token that show that it has counted incorrect PINs.
const pinFlags = cktFlagUserPINCountLow | cktFlagUserPINFinalTry | cktFlagUserPINLocked

// A tally is what this process knows about the tries of one token.
// CKF_USER_PIN_COUNT_LOW says that an incorrect PIN was entered since the last
// login, but not by whom, nor how many tries are left, and not all tokens set
// CKF_USER_PIN_FINAL_TRY (PKCS #11 v3.1, section 3.2). A tally is safe for
// concurrent use.
type tally struct {
	// tries is held between reading the number of tries and using one, whichever module,
	// and whichever process it runs in.
	tries sync.Mutex
	used  bool // a login of this process failed; guarded by tries

	mu       sync.Mutex
	accepted bool                        // the token accepted the last PIN of this process
	refused  map[[sha256.Size]byte]error // why it does not get a PIN again, by hash: those since then
	counted  int                         // how many of them it counted, or has perhaps counted
	others   bool                        // it counted one of another program before
	silent   bool                        // its flags did not show that it counted one
}

// see updates y with the flags of the token. If they show no incorrect PIN,
// there was a successful login or the PIN was set again. The caller holds y.mu.
func (y *tally) see(flags uint) {
	switch {
	case flags&pinFlags != 0:
		y.silent = false
		y.others = y.others || y.counted == 0
	case !y.silent:
		y.refused, y.counted, y.others = nil, 0, false
	}
}

// risky reports whether the next incorrect PIN may lock a token with these
// flags, as far as this process knows. Tokens allow at least three tries. So one
// more is used if the only one before was used by this process, which now has
// another PIN, or if this process has a PIN that the token accepted before.
func (y *tally) risky(flags uint) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.see(flags)
	if y.others {
		return y.counted > 0 || !y.accepted
	}
	return y.counted > 1
}

// refuses returns why the PIN must not be sent to the token again, or nil.
func (y *tally) refuses(pin []byte) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.refused[sha256.Sum256(pin)]
}

// accept records that the token accepted a PIN.
func (y *tally) accept() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.accepted, y.refused, y.counted, y.others, y.silent = true, nil, 0, false, false
}

// refuse records that the token refused the PIN, with its flags after that.
func (y *tally) refuse(pin []byte, counted bool, flags uint) {
	y.add(pin, notRetriedError{}, counted, flags)
}

// lose records that a login with the PIN ended the helper process of the module, so that
// nobody knows whether the token counted a try. Its flags would only say so if it shows
// them at all.
func (y *tally) lose(pin []byte) { y.add(pin, unknownResultError{}, true, 0) }

func (y *tally) add(pin []byte, why error, counted bool, flags uint) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.refused == nil {
		y.refused = make(map[[sha256.Size]byte]error)
	}
	y.refused[sha256.Sum256(pin)] = why
	y.accepted = false
	if counted {
		y.counted++
	}
	y.silent = flags&pinFlags == 0
}

// tallies are the tallies of the tokens that this process has used. They stay
// when a module is finalized.
type tallies struct {
	mu      sync.Mutex
	byToken map[loginTarget]*tally
}

func (a *tallies) of(info tokenInfo) *tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	token := info.loginTarget(ckuUser) // all users share the PIN of a token
	if a.byToken == nil {
		a.byToken = make(map[loginTarget]*tally)
	}
	if a.byToken[token] == nil {
		a.byToken[token] = new(tally)
	}
	return a.byToken[token]
}

// tally returns the tally of t.
func (t token) tally() *tally {
	if s, ok := t.mod.(*sharedModule); ok {
		return s.owner.tallies.of(t.info)
	}
	return new(tally)
}

// A notRetriedError reports that a PIN was not sent to the token, because it
// refused the same PIN before.
type notRetriedError struct{}

func (notRetriedError) Error() string {
	return "PIN not retried because the token refused it before: " + signer.ErrPINIncorrect.Error()
}

func (notRetriedError) Unwrap() []error {
	return []error{signer.ErrPINIncorrect, signer.ErrTryCounted}
}

func (notRetriedError) Hint() string {
	return "give another PIN; if the PIN of the token was changed to this one, restart the program"
}

// An unknownResultError reports that a PIN was not sent to the token, because the module
// ended its process when it received the same PIN. A person who is told may decide to
// send it all the same.
type unknownResultError struct{}

func (unknownResultError) Error() string {
	return "PIN not retried because the module ended its process in the last login: " + signer.ErrPINRequired.Error()
}

func (unknownResultError) Unwrap() []error {
	return []error{signer.ErrPINRequired, signer.ErrTryCounted}
}

func (unknownResultError) Hint() string {
	return "check the PIN, how many tries the token has left, and the module; then type the PIN, or restart the program"
}
