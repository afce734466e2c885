//go:build !linux

package main

func testCommands() map[string]func() { return map[string]func(){"holdfast": main} }
