package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// checksums is the file with the checksums of all others, which sha256sum reads.
const checksums = "SHA256SUMS"

// writeChecksums writes the last file of a release.
func writeChecksums(_ context.Context, r *release) error {
	files, err := tree(r.out, "")
	if err != nil {
		return err
	}
	return writeTo(filepath.Join(r.out, checksums), func(w io.Writer) error {
		for _, f := range files {
			data, err := os.ReadFile(f.source)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(data), f.name); err != nil {
				return err
			}
		}
		return nil
	})
}
