//go:build !linux && !darwin

package sshagent

func peerUID(int) (uid int, known bool, err error) { return 0, false, nil }
