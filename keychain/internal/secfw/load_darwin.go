package secfw

import "sync"

// dlopen finds these in the shared cache; since macOS 11 there are no such
// files.
const (
	coreFoundation = "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation"
	security       = "/System/Library/Frameworks/Security.framework/Versions/A/Security"
)

// System is the binding to the frameworks of this Mac, loaded with the first
// call and for the process, since frameworks cannot be unloaded.
var System = sync.OnceValues(func() (*API, error) { return Load(coreFoundation, security) })
