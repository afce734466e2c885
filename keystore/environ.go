package keystore

import "github.com/holdfast-dev/holdfast/internal/environ"

// ChildEnv returns the environment of a program that a [Backend] starts to use the key
// of ref: the variables of [Options.Environ] without those that contain the key or a PIN
// of ref. The caller owns the result, which is empty, but not nil, without variables.
func (c Call) ChildEnv(ref Ref) []string {
	if c.Environ == nil {
		return []string{}
	}
	env := append([]string{}, c.Environ()...)
	if c.store == nil {
		return env
	}
	return environ.Without(env, c.store.Uses(ref).Variables)
}
