//go:build !unix

package doctor

import "io/fs"

func foreignGroup(fs.FileInfo) (name string, foreign bool) { return "", false }
