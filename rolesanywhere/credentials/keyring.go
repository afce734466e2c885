package credentials

import "errors"

// ErrNoKeyring is the error of [OpenKeyring] where there is none: on other
// systems than Linux, and in containers that are kept from it.
var ErrNoKeyring = errors.New("no kernel keyring is available")
