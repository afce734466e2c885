package all

import (
	"encoding/json"
	"errors"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const module = "github.com/holdfast-dev/holdfast"

// mayImport has, for every package of the module and of the modules below it, the
// other packages of Holdfast that it may import. Dependencies go in one direction:
// the packages below rolesanywhere/credentials never import keystore, and a backend
// never imports rolesanywhere or another backend.
var mayImport = map[string][]string{
	// Every package may import those of these that import no other package of
	// the module but such ones, except that standardOnly packages must list
	// them, because some of these import golang.org/x/sys.
	"internal/algorithm":    {},
	"internal/armor":        {},
	"internal/atomicfile":   {},
	"internal/await":        {},
	"internal/awsconfig":    {},
	"internal/awsservice":   {"signer", "rolesanywhere/credentials"},
	"internal/boundedtoml":  {},
	"internal/certpath":     {"internal/algorithm", "internal/mldsa"},
	"internal/environ":      {},
	"internal/exectest":     {}, // for tests
	"internal/filelock":     {},
	"internal/fileowner":    {},
	"internal/filestate":    {},
	"internal/hide":         {},
	"internal/lazyregexp":   {},
	"internal/logging":      {},
	"internal/lookup":       {},
	"internal/mldsa":        {},
	"internal/peeruser":     {},
	"internal/processgroup": {},
	"internal/sshwire":      {},
	"internal/stack":        {},
	"internal/thumbprint":   {},

	"internal/mldsa/mldsatest":       {},                    // for tests
	"internal/peeruser/peerusertest": {},                    // for tests
	"internal/sshagenttest":          {"signer/signertest"}, // for tests

	module: {}, // only documentation

	"signer":            {"internal/algorithm", "internal/certpath", "internal/mldsa"},
	"signer/signertest": {"signer", "internal/certpath"},
	"signer/rotate":     {"signer", "internal/await", "internal/filestate", "internal/logging"},

	"keystore":          {"signer"},
	"keystore/file":     {"signer", "keystore"},
	"keystore/program":  {"signer", "keystore"},
	"keystore/selector": {"signer", "keystore"},
	"keystore/sshagent": {"signer", "keystore"},
	"keystore/spiffe":   {"signer", "keystore"},
	"pkcs11":            {"signer", "keystore", "pkcs11/internal/wire"},
	"tpm":               {"signer", "keystore"},
	"winstore":          {"signer", "keystore", "keystore/selector"},
	"keychain":          {"signer", "keystore", "keystore/selector", "keychain/internal/native", "keychain/internal/secfw"},
	"pkcs11/pkcs11test": {},
	"pkcs11/interop":    {}, // only tests
	"tpm/tpmtest":       {},

	// The helper process of pkcs11. Only binding, which makes a program of Linux
	// dynamic, links purego, and only the helper links binding.
	"pkcs11/isolated":         {"pkcs11/internal/binding", "pkcs11/internal/wire"},
	"pkcs11/internal/binding": {},
	"pkcs11/internal/wire":    {},
	"cmd/holdfast-pkcs11":     {"pkcs11/isolated"},

	"keystore/spiffe/spiffetest": {"signer/signertest"}, // for tests

	"winstore/winstoretest":     {},
	"keychain/internal/native":  {},
	"keychain/internal/secfw":   {"keychain/internal/native"},
	"keychain/internal/fakesec": {"keychain/internal/native", "keychain/internal/secfw", "signer/signertest"}, // for tests

	"pki":           {"signer"},
	"pki/authority": {"signer", "pki"},
	"pki/cms":       {"signer"},

	"pki/attestation": {"signer"},

	"pki/renew":            {"signer", "pki", "pki/cms"},
	"pki/renew/dropfolder": {"signer", "pki/cms", "pki/renew"},
	"pki/renew/program":    {"signer", "pki/renew"},

	"keystore/all": {"signer", "keystore", "keystore/file", "keystore/program", "keystore/spiffe", "keystore/sshagent", "pkcs11", "tpm", "winstore", "keychain"},

	"pki/renew/internal/caclient": {"signer", "pki/renew"},

	"pki/renew/privateca":         {"signer", "pki/renew", "internal/awsservice", "rolesanywhere", "rolesanywhere/sigv4", "rolesanywhere/credentials"},
	"pki/renew/est":               {"signer", "pki/renew", "pki/renew/internal/caclient"},
	"pki/renew/est/esttest":       {"signer/signertest"}, // for tests
	"pki/renew/vault":             {"signer", "pki/renew", "pki/renew/internal/caclient"},
	"pki/renew/vault/vaulttest":   {"signer/signertest"}, // for tests
	"pki/renew/stepca":            {"signer", "pki/renew", "pki/renew/internal/caclient"},
	"pki/renew/stepca/stepcatest": {"signer", "signer/signertest"}, // for tests

	"rolesanywhere":                           {"signer", "signer/rotate", "rolesanywhere/sigv4x509", "rolesanywhere/credentials", "internal/awsservice"},
	"rolesanywhere/assume":                    {"signer", "rolesanywhere", "rolesanywhere/sigv4", "rolesanywhere/credentials", "internal/awsservice"},
	"rolesanywhere/sigv4x509":                 {},
	"rolesanywhere/sigv4":                     {"rolesanywhere/sigv4x509", "rolesanywhere/credentials"},
	"rolesanywhere/credentials":               {},
	"rolesanywhere/credentials/process":       {"rolesanywhere/credentials"},
	"rolesanywhere/credentials/imds":          {"rolesanywhere/credentials"},
	"rolesanywhere/credentials/container":     {"rolesanywhere/credentials"},
	"rolesanywhere/credentials/loopback":      {},
	"rolesanywhere/credentials/podidentity":   {"rolesanywhere/credentials", "rolesanywhere/credentials/container"},
	"rolesanywhere/credentials/sharedfile":    {"rolesanywhere/credentials"},
	"rolesanywhere/internal/strictjson":       {},
	"rolesanywhere/trustpolicy":               {"rolesanywhere/internal/strictjson"},
	"rolesanywhere/emulator":                  {"rolesanywhere/sigv4x509", "rolesanywhere/sigv4", "rolesanywhere/credentials", "rolesanywhere/credentials/loopback", "rolesanywhere/trustpolicy", "rolesanywhere/internal/strictjson", "rolesanywhere/emulator/internal/page", "rolesanywhere/emulator/internal/journal"},
	"rolesanywhere/emulator/internal/page":    {"rolesanywhere/credentials/loopback"},
	"rolesanywhere/emulator/internal/journal": {},
	"rolesanywhere/awssdk":                    {"signer", "signer/rotate", "rolesanywhere", "rolesanywhere/credentials"}, // a module of its own

	"examples/internal/guesttest": {"signer", "signer/signertest", "keystore", "keystore/all", "pkcs11", "pkcs11/pkcs11test", "tpm/tpmtest"}, // for tests

	// The program. cmd/holdfast links all backends and passes them to cli.
	// The command packages vending, keys and local do not import one
	// another.
	"cmd/holdfast":                     {"cmd/holdfast/cli", "keystore/all"},
	"cmd/holdfast/cli":                 {front, flags, "cmd/holdfast/internal/commands", "cmd/holdfast/internal/mainstack", "keystore", "rolesanywhere/credentials/loopback"},
	"cmd/holdfast/internal/commands":   {front, role, "cmd/holdfast/internal/agent", "cmd/holdfast/internal/blob", "cmd/holdfast/internal/vending", "cmd/holdfast/internal/keys", issuing, "cmd/holdfast/internal/renewing", "cmd/holdfast/internal/local", "cmd/holdfast/internal/doctor", "cmd/holdfast/internal/sshagent"},
	"cmd/holdfast/internal/manual":     {front, "cmd/holdfast/internal/commands"},
	"cmd/holdfast/internal/mainstack":  {"internal/stack"},
	"cmd/holdfast/internal/pinentry":   {},
	"cmd/holdfast/internal/front":      {"cmd/holdfast/internal/pinentry", "signer", "keystore", "pki/renew", "rolesanywhere", "rolesanywhere/credentials/sharedfile"},
	"cmd/holdfast/internal/flags":      {front, "signer", "keystore", "keystore/selector", "rolesanywhere", "rolesanywhere/assume", "rolesanywhere/credentials"},
	"cmd/holdfast/internal/role":       {front, flags, "signer", "signer/rotate", "pki/renew", "pki/renew/dropfolder", "pki/renew/program", "pki/renew/privateca", "pki/renew/stepca", "pki/renew/est", "pki/renew/vault", "keystore", "rolesanywhere", "rolesanywhere/assume", "rolesanywhere/credentials"},
	"cmd/holdfast/internal/systemd":    {},
	"cmd/holdfast/internal/service":    {front, "signer", "rolesanywhere/credentials", "rolesanywhere/credentials/loopback"},
	"cmd/holdfast/internal/daemon":     {front, role, service, systemd, "signer", "signer/rotate", "keystore", "pki/renew", "rolesanywhere/credentials", "rolesanywhere/credentials/loopback", "rolesanywhere/credentials/imds", "rolesanywhere/credentials/container"},
	"cmd/holdfast/internal/agent":      {front, flags, role, service, systemd, "signer", "keystore", "rolesanywhere", "rolesanywhere/assume", "rolesanywhere/credentials", "rolesanywhere/credentials/loopback", "rolesanywhere/credentials/podidentity"},
	"cmd/holdfast/internal/child":      {front, "signer"},
	"cmd/holdfast/internal/vending":    {front, flags, role, "cmd/holdfast/internal/child", "cmd/holdfast/internal/daemon", service, "signer", "keystore", "rolesanywhere", "rolesanywhere/credentials", "rolesanywhere/credentials/process", "rolesanywhere/credentials/loopback", "rolesanywhere/credentials/container", "rolesanywhere/credentials/sharedfile"},
	"cmd/holdfast/internal/sshagent":   {front, flags, "cmd/holdfast/internal/child", "cmd/holdfast/internal/daemon", "signer", "signer/rotate", "keystore"},
	"cmd/holdfast/internal/keys":       {front, flags, "signer", "keystore"},
	"cmd/holdfast/internal/blob":       {front, flags, "signer", "keystore", "keystore/selector"},
	issuing:                            {front, flags, "signer", "keystore", "keystore/selector", "pki", "pki/authority", "pki/attestation", "pki/cms", "pki/renew/dropfolder", "rolesanywhere", "rolesanywhere/trustpolicy"},
	"cmd/holdfast/internal/renewing":   {front, flags, role, "signer", "keystore", "pki", "pki/renew"},
	"cmd/holdfast/internal/doctor":     {front, flags, role, "signer", "keystore", "pki", "pki/renew", "rolesanywhere", "rolesanywhere/credentials", "rolesanywhere/assume", "rolesanywhere/trustpolicy"},
	"cmd/holdfast/internal/local":      {front, "signer", "rolesanywhere/credentials", "rolesanywhere/credentials/loopback", "rolesanywhere/emulator"},
	"cmd/holdfast/internal/interop":    {}, // only tests, like the next four
	"cmd/holdfast/internal/kubernetes": {},
	"cmd/holdfast/internal/badinput":   {},
	"cmd/holdfast/internal/bench":      {},
	"cmd/holdfast/internal/pages":      {},
	"cmd/holdfast/internal/ptytest":    {},
	"cmd/holdfast-ecp":                 {"cmd/holdfast-ecp/internal/ecp", "keystore/all"},
	"cmd/holdfast-ecp/internal/ecp":    {"signer", "signer/rotate", "keystore"},

	"cmd/holdfast/internal/alerttest": {"signer/signertest"},                                                                                                                                                                                    // for tests
	"cmd/holdfast/internal/clitest":   {"cmd/holdfast/cli", "keystore/all", "keystore", "keystore/spiffe/spiffetest", "pkcs11", "pkcs11/pkcs11test", "tpm/tpmtest", "signer/signertest", "rolesanywhere/credentials", "rolesanywhere/emulator"}, // for tests
}

// Packages that several packages of the program import.
const (
	front = "cmd/holdfast/internal/front"
	flags = "cmd/holdfast/internal/flags"
	role  = "cmd/holdfast/internal/role"

	service = "cmd/holdfast/internal/service"
	systemd = "cmd/holdfast/internal/systemd"

	issuing = "cmd/holdfast/internal/issuing"
)

// TestExamplesImportPublicPackages: the modules of the examples are not in mayImport. They
// import what every program can import.
func TestExamplesImportPublicPackages(t *testing.T) {
	found := 0
	for name, file := range sources(t, token.NewFileSet()) {
		if !strings.HasPrefix(filepath.ToSlash(name), "examples/") || file.Name.Name != "main" {
			continue
		}
		found++
		for _, i := range file.Imports {
			if strings.Contains(i.Path.Value, module) && strings.Contains(i.Path.Value, "/internal/") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d examples", found)
	}
}

// onlyIn has the packages that may import a third-party module.
var onlyIn = map[string][]string{
	"filippo.io/mldsa":             {"keystore/file"},
	"github.com/aws/aws-sdk-go-v2": {"rolesanywhere/awssdk"},
	"github.com/ebitengine/purego": {"keychain/internal/secfw", "keychain/internal/fakesec", "pkcs11/internal/binding"},
	"github.com/google/go-tpm":     {"tpm", "pki/attestation"},
}

// modules are the modules below this one that programs import.
var modules = []string{"rolesanywhere/awssdk"}

// standardOnly are the packages that import no third-party module.
var standardOnly = []string{"internal/sshwire", "signer", "signer/signertest", "signer/rotate", "pki/renew/stepca", "pki/renew/est", "pki/renew/vault", "pki/renew/internal/caclient"}

type goPackage struct {
	ImportPath string
	Imports    []string // without the imports of tests
}

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		packages := listPackages(t, goos, ".")
		if len(packages) < 5 {
			t.Fatalf("%s: go list returned %d packages", goos, len(packages))
		}
		for _, dir := range modules {
			nested := listPackages(t, goos, dir)
			if len(nested) == 0 {
				t.Errorf("%s: go list returned no packages of %s", goos, dir)
			}
			packages = append(packages, nested...)
		}
		for _, p := range packages {
			for _, violation := range checkImports(p) {
				t.Errorf("%s: %s", goos, violation)
			}
		}
	}
}

func listPackages(t *testing.T, goos, dir string) []goPackage {
	t.Helper()
	cmd := exec.Command(signertest.Require(t, "go", "go"), "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = filepath.Join("../..", dir)
	cmd.Env = append(os.Environ(), "GOOS="+goos)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func checkImports(p goPackage) (violations []string) {
	name := strings.TrimPrefix(p.ImportPath, module+"/")
	allowed, known := mayImport[name]
	if !known {
		return []string{name + " is not in the table of packages"}
	}
	for _, path := range p.Imports {
		own, isOwn := strings.CutPrefix(path, module+"/")
		first, _, _ := strings.Cut(path, "/")
		isStandard := !strings.Contains(first, ".")
		switch {
		case isOwn && isFree(own) && !slices.Contains(standardOnly, name):
		case isOwn && !slices.Contains(allowed, own):
			violations = append(violations, name+" imports "+own)
		case !isOwn && !isStandard && slices.Contains(standardOnly, name):
			violations = append(violations, name+" imports "+path)
		}
		for other, where := range onlyIn {
			if (path == other || strings.HasPrefix(path, other+"/")) && !slices.Contains(where, name) {
				violations = append(violations, name+" imports "+path)
			}
		}
	}
	return violations
}

// isFree reports whether every package may import the package.
func isFree(name string) bool {
	imports, known := mayImport[name]
	return known && strings.HasPrefix(name, "internal/") && !slices.ContainsFunc(imports, func(other string) bool { return !isFree(other) })
}

func TestCheckImports(t *testing.T) {
	for _, test := range []struct {
		from, to string
		ok       bool
	}{
		{"keystore", module + "/signer", true},
		{"keystore", "crypto/x509", true},
		{"keystore", "golang.org/x/crypto/scrypt", true},
		{"keystore", module + "/rolesanywhere", false},
		{"keystore/file", module + "/pkcs11", false},
		{"keystore", module + "/keystore/selector", false},
		{"pkcs11", module + "/keystore/selector", false},
		{"pkcs11", module + "/pkcs11/internal/binding", false},
		{"pkcs11/isolated", module + "/pkcs11", false},
		{"pkcs11/isolated", "github.com/ebitengine/purego", false},
		{"winstore", module + "/keystore/selector", true},
		{"rolesanywhere", module + "/keystore", false},
		{"rolesanywhere/credentials", module + "/signer", false},
		{"rolesanywhere/credentials", module + "/internal/atomicfile", true},
		{"signer", module + "/internal/logging", false},
		{"signer/rotate", module + "/internal/atomicfile", false},
		{"signer", "golang.org/x/crypto/scrypt", false},
		{"signer", module + "/keystore", false},
		{"signer/rotate", module + "/internal/await", true},
		{"signer/rotate", module + "/keystore", false},
		{"signer/rotate", "golang.org/x/crypto/scrypt", false},
		{"rolesanywhere", module + "/signer/rotate", true},
		{"rolesanywhere", "github.com/aws/aws-sdk-go-v2/aws", false},
		{"rolesanywhere/awssdk", "github.com/aws/aws-sdk-go-v2/aws", true},
		{"rolesanywhere/awssdk", module + "/keystore", false},
		{"rolesanywhere/emulator", "github.com/aws/aws-sdk-go-v2/aws", false},
		{"pki/renew/privateca", module + "/internal/awsservice", true},
		{"keystore", module + "/internal/awsservice", false},
		{"cmd/holdfast", module + "/keystore/all", true},
		{"cmd/holdfast", module + "/keystore/file", false},
		{"cmd/holdfast", module + "/rolesanywhere", false},
		{"cmd/holdfast/cli", module + "/keystore/all", false},
		{"cmd/holdfast/cli", module + "/cmd/holdfast/internal/keys", false},
		{"cmd/holdfast/internal/front", module + "/cmd/holdfast/internal/flags", false},
		{"cmd/holdfast/internal/keys", module + "/cmd/holdfast/internal/vending", false},
		{"cmd/holdfast/internal/keys", module + "/pkcs11", false},
		{"cmd/holdfast/internal/daemon", module + "/cmd/holdfast/internal/vending", false},
		{"utils", "fmt", false},
	} {
		violations := checkImports(goPackage{module + "/" + test.from, []string{test.to}})
		if (len(violations) == 0) != test.ok {
			t.Errorf("%s imports %s: violations %q", test.from, test.to, violations)
		}
	}
}
