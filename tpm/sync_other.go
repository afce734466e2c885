//go:build !unix

package tpm

func syncFolder(string) error { return nil }
