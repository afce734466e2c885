//go:build !linux

package tpmtest

import "syscall"

var endWithParent *syscall.SysProcAttr
