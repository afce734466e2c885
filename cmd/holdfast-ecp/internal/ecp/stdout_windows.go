package ecp

import "os"

// ProtocolOut returns standard output.
func ProtocolOut() *os.File { return os.Stdout }
