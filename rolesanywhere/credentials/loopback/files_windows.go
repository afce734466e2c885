package loopback

import "math"

// maxFiles returns how many files the process may open. Windows has no limit
// that matters here.
func maxFiles() uint64 { return math.MaxUint64 }
