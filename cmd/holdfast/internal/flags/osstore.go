package flags

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

// osStore is the group of flags of aws_signing_helper for the key store of the
// operating system. Together they are equivalent to one reference.
type osStore struct {
	selector  string
	storeName string
	newest    bool
}

func (f *osStore) add(fs *pflag.FlagSet) {
	f.addSelector(fs)
	fs.BoolVar(&f.newest, "use-latest-expiring-certificate", false, "if several certificates match, use the one that expires last")
}

// addSelector adds the flags that can select several certificates.
func (f *osStore) addSelector(fs *pflag.FlagSet) {
	fs.StringVar(&f.selector, "cert-selector", "", "`selector` of a certificate in the key store of Windows or macOS, such as Key=x509Subject,Value=CN=app, or file://PATH of a JSON file")
	fs.StringVar(&f.storeName, "system-store-name", "", "`name` of a Windows certificate store of the current user, or LocalMachine\\NAME for a store of the machine (default: MY)")
}

// osStores maps operating systems to the schemes of their key stores.
var osStores = lookup.Table[string, string]{{"windows", "winstore"}, {"darwin", "keychain"}}

const thisOS = runtime.GOOS

func hasOSStore() bool { return osStores.Get(thisOS) != "" }

// IsOfOtherSystem reports whether err comes from the key store of another
// operating system.
func IsOfOtherSystem(err error) bool {
	var e *signer.Error
	if !errors.As(err, &e) || !errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	for _, store := range osStores {
		if store.Value == e.Backend {
			return store.Key != thisOS
		}
	}
	return false
}

// maxSelectorFile limits the size of the file of --cert-selector, in bytes.
const maxSelectorFile = 256 << 10

// reference returns the reference that is equivalent to the flags on the
// operating system goos.
func (f *osStore) reference(goos string) (string, error) {
	var parts []string
	if f.storeName != "" {
		parts = append(parts, storeAttributes(f.storeName))
	}
	if f.selector != "" {
		s, err := f.parseSelector()
		if err != nil {
			return "", &front.UsageError{Err: fmt.Errorf("--cert-selector: %w", err)}
		}
		parts = append(parts, s.String())
	}
	if f.newest {
		parts = append(parts, "newest=yes")
	}
	scheme, ok := osStores.Find(goos)
	if !ok {
		name := "--cert-selector"
		if f.selector == "" {
			name = "--system-store-name"
		}
		return "", signer.WithHint(fmt.Errorf("%s requires the key store of Windows or macOS: %w", name, errors.ErrUnsupported),
			"name files or a PKCS #11 token with --certificate and --private-key")
	}
	if f.storeName != "" && goos != "windows" {
		return "", signer.WithHint(fmt.Errorf("--system-store-name requires Windows: %w", errors.ErrUnsupported), "remove --system-store-name")
	}
	return scheme + ":" + strings.Join(parts, ";"), nil
}

func (f *osStore) parseSelector() (selector.Selector, error) {
	text := f.selector
	if path, ok := strings.CutPrefix(text, "file://"); ok {
		data, err := keystore.ReadFile(path, maxSelectorFile)
		if err != nil {
			return selector.Selector{}, fmt.Errorf("%s: %w", path, err)
		}
		text = string(data)
	}
	return selector.ParseSigningHelper(text)
}

// storeAttributes returns the attributes for the name of a certificate store.
// It also accepts paths of PowerShell's Cert: drive, such as LocalMachine\My.
func storeAttributes(name string) string {
	for prefix, location := range map[string]string{`localmachine\`: "machine", `currentuser\`: "user"} {
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return "location=" + location + ";" + keystore.FormatAttribute("store", name[len(prefix):])
		}
	}
	return keystore.FormatAttribute("store", name)
}
