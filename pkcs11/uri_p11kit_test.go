package pkcs11

import (
	"bufio"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// p11KitFlags returns the compiler flags for p11-kit. Without its headers it
// skips the test like [signertest.Require].
func p11KitFlags(t testing.TB) (flags []string) {
	t.Helper()
	const name = "p11-kit-dev"
	config := signertest.Require(t, name, "pkg-config")
	out, err := exec.Command(config, "--cflags", "--libs", "p11-kit-1").Output()
	if err != nil {
		signertest.Skip(t, name, err)
	}
	return strings.Fields(string(out))
}

// buildP11Kit builds the program that parses URIs with p11-kit.
func buildP11Kit(t testing.TB) (program string) {
	t.Helper()
	flags := p11KitFlags(t)
	cc := signertest.Require(t, "p11-kit-dev", "cc")
	program = filepath.Join(t.TempDir(), "p11kit-uri")
	if out, err := exec.Command(cc, append([]string{"-o", program, "testdata/p11kit-uri.c"}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return program
}

func TestURIsMatchP11Kit(t *testing.T) {
	program := buildP11Kit(t)
	tests := uriTests
	for _, test := range uriTests { // also test the output of String
		if test.err == nil && test.differs == "" && test.want.PINValue == "" {
			test.uri = test.want.String()
			tests = append(tests[:len(tests):len(tests)], test)
		}
	}
	var in strings.Builder
	for _, test := range tests {
		fmt.Fprintf(&in, "%x\n", test.uri)
	}
	cmd := exec.Command(program)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(tests) {
		t.Fatalf("%d answers to %d URIs", len(lines), len(tests))
	}
	for i, test := range tests {
		fields := strings.Fields(lines[i])
		slices.Sort(fields)
		theirs := strings.Join(fields, " ")
		ours := "refused"
		if u, err := ParseURI(test.uri); err == nil {
			ours = formatAsP11Kit(u)
		}
		if (test.differs == "") != (ours == theirs) {
			t.Errorf("%q (differs: %q)\n   ours: %s\np11-kit: %s", test.uri, test.differs, ours, theirs)
		}
	}
}

// formatAsP11Kit formats u as testdata/p11kit-uri.c does.
func formatAsP11Kit(u URI) string {
	if u.LibraryVersion != "" && !strings.Contains(u.LibraryVersion, ".") {
		u.LibraryVersion += ".0"
	}
	var parts []string
	for _, a := range slices.Concat(inPath.attributes, inQuery.attributes) {
		if v := *a.field(&u); v != "" {
			parts = append(parts, fmt.Sprintf("%s=%x", a.name, v))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// fixedSizes contains the sizes of the structure fields of p11-kit, in bytes.
var fixedSizes = map[string]int{
	"token": 32, "manufacturer": 32, "serial": 16, "model": 16,
	"slot-description": 64, "slot-manufacturer": 32, "library-manufacturer": 32, "library-description": 32,
}

// comparableWithP11Kit reports whether p11-kit can represent u.
func comparableWithP11Kit(u URI) bool {
	for _, a := range slices.Concat(inPath.attributes, inQuery.attributes) {
		v := *a.field(&u)
		if n := fixedSizes[a.name]; n > 0 && (len(v) > n || strings.TrimRight(v, " ") != v) {
			return false
		}
	}
	return !strings.Contains(u.LibraryVersion, "255") && u.SlotID != strconv.FormatUint(math.MaxUint, 10)
}

// plainNumber removes leading zeros, which p11-kit does not print.
func plainNumber(s string) string {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return s
	}
	return strconv.FormatUint(n, 10)
}

// FuzzURIAgainstP11Kit checks that p11-kit accepts all URIs that ParseURI
// accepts, with the same result.
func FuzzURIAgainstP11Kit(f *testing.F) {
	cmd := exec.Command(buildP11Kit(f))
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	answers := bufio.NewReader(out)
	for _, test := range uriTests {
		f.Add(test.uri)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil || !comparableWithP11Kit(u) {
			return
		}
		if _, err := fmt.Fprintf(in, "%x\n", s); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(line)
		slices.Sort(fields)
		u.SlotID = plainNumber(u.SlotID)
		if major, minor, ok := strings.Cut(u.LibraryVersion, "."); u.LibraryVersion != "" {
			if u.LibraryVersion = plainNumber(major); ok {
				u.LibraryVersion += "." + plainNumber(minor)
			}
		}
		if ours, theirs := formatAsP11Kit(u), strings.Join(fields, " "); ours != theirs {
			t.Errorf("%q\n   ours: %s\np11-kit: %s", s, ours, theirs)
		}
	})
}
