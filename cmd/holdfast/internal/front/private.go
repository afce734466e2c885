package front

import "github.com/holdfast-dev/holdfast/internal/hide"

// HideMemory hides the environment and the memory of this process from other processes of
// the user; see [hide.Memory].
func HideMemory() { hide.Memory() }
