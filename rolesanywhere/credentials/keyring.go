package credentials

import "errors"

// ErrNoKeyring is the error of [OpenKeyring] if there is no keyring: on systems
// other than Linux, and in containers without access to it.
var ErrNoKeyring = errors.New("no kernel keyring is available")
