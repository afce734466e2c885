//go:build linux

package badinput

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// helperCases have a program in the place of the helper for PKCS #11 modules, which the
// program needs, because it is built without cgo.
func helperCases(*pki) (all []badInput) {
	script := func(text string) func(*scene) { return helperFile("#!/bin/sh\n"+text+"\n", 0o755, 0o755) }
	for _, c := range []badInput{
		{name: "missing", code: front.ExitUnavailable, culprit: "helper/run", hint: "unset it"},
		{name: "a folder", setup: func(s *scene) { s.must(os.MkdirAll(s.path("helper/run"), 0o755)) }, code: front.ExitUnavailable, culprit: "is not a program", hint: "unset it"},
		{name: "not executable", setup: helperFile("", 0o644, 0o755), code: front.ExitUnavailable, culprit: "is not executable (mode 0644)", hint: "unset it"},
		{name: "writable for the group", setup: helperFile("", 0o775, 0o755), code: front.ExitUnavailable, culprit: "run can be written by its group (mode 0775)", hint: "chmod go-w"},
		{name: "writable for all", setup: helperFile("", 0o757, 0o755), code: front.ExitUnavailable, culprit: "can be written by other users (mode 0757)", hint: "chmod go-w"},
		{name: "in a folder that is writable for all", setup: helperFile("", 0o755, 0o777), code: front.ExitUnavailable, culprit: "helper can be written by other users", hint: "move the program"},
		{name: "in a folder that is writable for the group", setup: helperFile("", 0o755, 0o775), code: front.ExitUnavailable, culprit: "helper can be written by its group", hint: "chmod g-w"},
		{name: "a link in a folder that is writable for all", setup: func(s *scene) {
			helperFile("", 0o755, 0o755)(s)
			s.must(os.Rename(s.path("helper"), s.path("safe")))
			s.must(os.Mkdir(s.path("helper"), 0o755))
			s.must(os.Symlink("../safe/run", s.path("helper/run")))
			s.must(os.Chmod(s.path("helper"), 0o777))
		}, code: front.ExitUnavailable, culprit: "helper can be written by other users", hint: "move the program"},
		{name: "another program", setup: script("exit 0"), code: front.ExitUnavailable, culprit: "is not a holdfast-pkcs11", hint: "same version"},
		{name: "a program that prints text", setup: script("echo usage: run; cat >/dev/null"), code: front.ExitUnavailable, culprit: "is not a holdfast-pkcs11", hint: "same version"},
		{name: "a program that prints without end", setup: script("exec yes"), code: front.ExitUnavailable, culprit: "is not a holdfast-pkcs11", hint: "same version"},
		{name: "of another version", setup: script(`printf '\000\000\000\003\143\001x'; cat >/dev/null`), code: front.ExitUnavailable, culprit: "version 99 of the protocol", hint: "same version"},
		{name: "no program of this system", setup: helperFile("\x00\x01\x02", 0o755, 0o755), code: front.ExitUnavailable, culprit: "helper/run", hint: "holdfast-pkcs11"},
	} {
		c.name = "helper " + c.name
		c.args = append(c.args, "--private-key", "pkcs11:object=app?module-path=/bin/sh")
		c.env = []string{"HOLDFAST_PKCS11_HELPER={dir}/helper/run"}
		all = append(all, c)
	}
	if os.Geteuid() == 0 {
		all = append(all, badInput{name: "helper of another user", args: []string{"--private-key", "pkcs11:object=app?module-path=/bin/sh"}, env: []string{"HOLDFAST_PKCS11_HELPER={dir}/helper/run"},
			setup: steps(helperFile("", 0o755, 0o755), func(s *scene) { s.must(os.Chown(s.path("helper/run"), 4242, -1)) }),
			code:  front.ExitUnavailable, culprit: "belongs to another user (UID 4242)", hint: "belong to root"})
	}
	return append(all,
		badInput{name: "helper with a relative path", args: []string{"--private-key", "pkcs11:object=app?module-path=/bin/sh"}, env: []string{"HOLDFAST_PKCS11_HELPER=holdfast-pkcs11"},
			code: front.ExitUnavailable, culprit: "HOLDFAST_PKCS11_HELPER", hint: "absolute"},
		badInput{name: "helper in PATH alone", args: []string{"--private-key", "pkcs11:object=app?module-path=/bin/sh"}, env: []string{"PATH={dir}/helper:/bin"},
			setup: func(s *scene) {
				helperFile("#!/bin/sh\n", 0o755, 0o755)(s)
				s.must(os.Rename(s.path("helper/run"), s.path("helper/holdfast-pkcs11")))
			}, code: front.ExitUnavailable, culprit: "holdfast-pkcs11", hint: "install -m 755 holdfast-pkcs11"},
		badInput{name: "isolation=off without cgo", args: []string{"--private-key", "pkcs11:object=app?isolation=off"}, code: front.ExitUnavailable, culprit: "only in the helper holdfast-pkcs11", hint: "set --pkcs11-isolation to auto"},
		badInput{name: "HOLDFAST_PKCS11_ISOLATION=off without cgo", args: []string{"--private-key", "pkcs11:object=app"}, env: []string{"HOLDFAST_PKCS11_ISOLATION=off"}, code: front.ExitUnavailable, culprit: "only in the helper holdfast-pkcs11", hint: "unset the variable HOLDFAST_PKCS11_ISOLATION"},
		badInput{name: "--pkcs11-isolation=off without cgo", args: []string{"--private-key", "pkcs11:object=app", "--pkcs11-isolation", "off"}, code: front.ExitUnavailable, culprit: "only in the helper holdfast-pkcs11", hint: "set --pkcs11-isolation to auto"},
		badInput{name: "module with a relative path, without a helper", args: []string{"--private-key", "pkcs11:object=app?module-path=relative.so"}, env: []string{"HOLDFAST_PKCS11_HELPER=/none"},
			code: front.ExitUsage, culprit: "relative.so", hint: "absolute path of the module"},
		badInput{name: "isolation unknown", args: []string{"--private-key", "pkcs11:object=app?isolation=yes"}, code: front.ExitUsage, culprit: "isolation", hint: "reference"},
		badInput{name: "isolation before the question mark", args: []string{"--private-key", "pkcs11:object=app;isolation=on"}, code: front.ExitUsage, culprit: "isolation", hint: "pkcs11:token"},
		badInput{name: "isolation twice", args: []string{"--private-key", "pkcs11:object=app?isolation=on&isolation=off"}, code: front.ExitUsage, culprit: "isolation", hint: "reference"},
		badInput{name: "--pkcs11-isolation unknown", args: []string{"--pkcs11-isolation", "yes"}, code: front.ExitUsage, culprit: "--pkcs11-isolation", hint: "docs/pkcs11.md"},
		badInput{name: "HOLDFAST_PKCS11_ISOLATION unknown", env: []string{"HOLDFAST_PKCS11_ISOLATION=1"}, code: front.ExitUsage, culprit: "HOLDFAST_PKCS11_ISOLATION", hint: "unset it"},
	)
}

// helperFile writes helper/run with a mode, in a folder with another.
func helperFile(text string, mode, folder fs.FileMode) func(*scene) {
	return func(s *scene) {
		path := s.path("helper/run")
		s.must(os.Mkdir(filepath.Dir(path), 0o755))
		s.write("helper/run", []byte(text))
		s.must(os.Chmod(path, mode))
		s.must(os.Chmod(filepath.Dir(path), folder))
	}
}
