package tpmtest

import "syscall"

// endWithParent makes the kernel kill swtpm if the test process dies.
var endWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
