//go:build !unix

package program_test

func lie() {}
