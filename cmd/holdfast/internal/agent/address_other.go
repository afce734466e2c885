//go:build !linux

package agent

import (
	"errors"
	"net/netip"
)

func addLoopbackAddress(netip.Addr) error { return errors.ErrUnsupported }
