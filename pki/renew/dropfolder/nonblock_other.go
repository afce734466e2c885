//go:build !unix

package dropfolder

const nonblock = 0
