//go:build !linux

package clitest

func commands() map[string]func() { return make(map[string]func()) }
