//go:build !linux

package clitest

func commands() map[string]func() { return map[string]func(){"holdfast": holdfast} }
