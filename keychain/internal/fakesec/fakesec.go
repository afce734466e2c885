//go:build linux && (amd64 || arm64)

// Package fakesec lets tests run the binding of package secfw on Linux. It
// compiles and loads a double of CoreFoundation and Security.framework in C,
// which counts references. Tests with the double prove how secfw passes values,
// owns objects and reports errors. They do not prove how macOS behaves.
package fakesec

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ebitengine/purego"

	"github.com/holdfast-dev/holdfast/keychain/internal/secfw"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

//go:embed testdata/fakesec.c
var source string

// Shapes of the result of a query.
const (
	AsUsual    int32 = iota
	EmptyArray       // success and an empty array
	Bare             // references without attributes
	Single           // a single item instead of an array of one
	WrongClass       // items of another class
	NoResult         // success and NULL
)

// control has the functions that set up the double. The double has one state per
// process, so tests that use it must not run in parallel.
type control struct {
	Reset           func()
	Count           func(which int32) int
	FailFind        func(scope, status int32)
	Shape           func(shape int32)
	FailCertificate func(status, empty int32)
	FailKey         func(status, null int32)
	Disable         func(part string)
	FailSign        func(domain string, code int, text string)
	SignNothing     func(stray int32)
	Gate            func(shut int32)
	Await           func(n int32)
	hook            func(uintptr)
	add             func(der *byte, n int, scope, id, rsa int32, names *byte) int32
}

// A library is the compiled and loaded double.
type library struct {
	path    string
	api     *secfw.API
	control control
}

var load = sync.OnceValues(func() (*library, error) {
	dir, err := os.MkdirTemp("", "fakesec")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // a loaded library does not need its file
	l := &library{path: filepath.Join(dir, "libfakesec.so")}
	cc := exec.Command("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-x", "c", "-", "-o", l.path)
	cc.Stdin = strings.NewReader(source)
	if out, err := cc.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cc: %w\n%s", err, out)
	}
	if l.api, err = secfw.Load(l.path, l.path); err != nil {
		return nil, err
	}
	handle, err := purego.Dlopen(l.path, purego.RTLD_NOW)
	if err != nil {
		return nil, err
	}
	c := &l.control
	for name, f := range map[string]any{
		"reset": &c.Reset, "count": &c.Count, "fail_find": &c.FailFind, "shape": &c.Shape,
		"fail_certificate": &c.FailCertificate, "fail_key": &c.FailKey, "disable": &c.Disable,
		"fail_sign": &c.FailSign, "sign_nothing": &c.SignNothing, "gate": &c.Gate, "await": &c.Await,
		"hook": &c.hook, "add": &c.add,
	} {
		purego.RegisterLibFunc(f, handle, "fake_"+name)
	}
	c.hook(purego.NewCallback(sign))
	return l, nil
})

// A Double is the double with an empty store. Its embedded functions make calls
// fail or wait until the test ends.
type Double struct {
	API *secfw.API
	control
}

// counters are the counters of the double, in its order. A test must leave
// them unchanged.
var counters = []string{
	"leaked objects", "excess releases", "uses of freed objects", "dictionaries without callbacks",
	"objects of another type",
	"references to kCFBooleanTrue", "references to kSecClass",
}

// New returns the double. When the test ends, New fails it unless every object
// was released exactly once and was not used afterwards. New skips the test if cc
// is not installed.
func New(tb testing.TB) *Double {
	tb.Helper()
	signertest.Require(tb, "cc", "cc")
	l, err := load()
	if err != nil {
		tb.Fatal(err)
	}
	d := &Double{l.api, l.control}
	before := d.counts()
	if before[0] != 0 {
		tb.Fatalf("%d objects of another test were not released", before[0])
	}
	tb.Cleanup(func() {
		d.Reset()
		for i, n := range d.counts() {
			if n != before[i] {
				tb.Errorf("%s: %d", counters[i], n-before[i])
			}
		}
		forgetKeys()
	})
	return d
}

func (d *Double) counts() []int {
	all := make([]int, len(counters))
	for i := range all {
		all[i] = d.Count(int32(i))
	}
	return all
}
