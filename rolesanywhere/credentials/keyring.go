package credentials

import "errors"

// ErrNoKeyring is the error of [OpenKeyring] where there is none: on other
// systems than Linux (it is an errors.ErrUnsupported there), and in containers
// that are kept from it.
var ErrNoKeyring = errors.New("no kernel keyring is available")
