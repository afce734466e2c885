package main

import (
	"context"
	"path/filepath"
)

// writeShare writes the manual pages and the completions of the shells, as they are
// installed in /usr/share.
func writeShare(ctx context.Context, r *release) error {
	return r.goTool(ctx, nil, "run", "-trimpath", "./cmd/holdfast/internal/manual", r.share()).Run()
}

func (r *release) share() string { return filepath.Join(r.work, "share") }
