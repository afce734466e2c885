package secfw

import "sync"

// dlopen finds these libraries in the shared cache. Since macOS 11, the files do
// not exist.
const (
	coreFoundation = "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation"
	security       = "/System/Library/Frameworks/Security.framework/Versions/A/Security"
)

// System returns the binding to the frameworks of this Mac. The first call loads
// the frameworks, which stay loaded because they cannot be unloaded.
var System = sync.OnceValues(func() (*API, error) { return Load(coreFoundation, security) })
