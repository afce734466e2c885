//go:build !unix

package emulator

const nonblock = 0
