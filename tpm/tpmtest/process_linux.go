package tpmtest

import "syscall"

// endWithParent ends the TPM with the test that forgot it.
var endWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
