package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// A target is a platform for which the programs are built.
type target struct {
	os, arch string
	deb, rpm string // the names of the architecture there; "": no package
	helper   bool   // package purego supports the platform
	image    bool   // the image has a variant for it
}

// The variants of the architectures are those of buildEnv.
var targets = []target{
	{"linux", "amd64", "amd64", "x86_64", true, true},
	{"linux", "arm64", "arm64", "aarch64", true, true},
	{"linux", "arm", "armhf", "armv7hl", false, false},
	{"linux", "386", "i386", "i686", false, false},
	{"darwin", "amd64", "", "", true, false},
	{"darwin", "arm64", "", "", true, false},
	{"windows", "amd64", "", "", true, false},
	{"windows", "arm64", "", "", true, false},
}

// selectTargets returns the targets of a list with commas, or all.
func selectTargets(list string) ([]target, error) {
	if list == "" {
		return targets, nil
	}
	var selected []target
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(targets, func(t target) bool { return t.os+"/"+t.arch == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no target %q", name)
		}
		selected = append(selected, targets[i])
	}
	return selected, nil
}

// label returns the name of the target in the names of archives. Only the processors of
// version 7 of the architecture arm are supported.
func (t target) label() string {
	if t.arch == "arm" {
		return t.os + "_armv7"
	}
	return t.os + "_" + t.arch
}

// programs returns the names of the programs, which are those of the folders in cmd.
func (t target) programs() []string {
	if t.helper {
		return []string{"holdfast", "holdfast-ecp", "holdfast-pkcs11"}
	}
	return []string{"holdfast", "holdfast-ecp"}
}

func (t target) suffix() string {
	if t.os == "windows" {
		return ".exe"
	}
	return ""
}

// program returns the path of a program that has been built.
func (r *release) program(t target, name string) string {
	return filepath.Join(r.work, "bin", t.label(), name+t.suffix())
}
