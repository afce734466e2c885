//go:build darwin || (linux && (amd64 || arm64))

package secfw

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// goTypes has the Go type for each C type. Every CFTypeRef is a Ref.
var goTypes = map[string]reflect.Type{
	"OSStatus":                           reflect.TypeFor[int32](),
	"Boolean":                            reflect.TypeFor[uint8](),
	"CFIndex":                            reflect.TypeFor[int](),
	"SecKeyOperationType":                reflect.TypeFor[int](), // CF_ENUM(CFIndex)
	"CFTypeID":                           reflect.TypeFor[uint](),
	"CFStringEncoding":                   reflect.TypeFor[uint32](),
	"const UInt8 *":                      reflect.TypeFor[*byte](),
	"char *":                             reflect.TypeFor[*byte](),
	"const void *":                       reflect.TypeFor[Ref](), // in these prototypes, an element of a collection
	"const void **":                      reflect.TypeFor[*Ref](),
	"void *":                             reflect.TypeFor[uintptr](), // reserved
	"CFErrorDomain":                      reflect.TypeFor[Ref](),     // typedef of CFStringRef
	"SecKeyAlgorithm":                    reflect.TypeFor[Ref](),     // likewise
	"CFTypeRef":                          reflect.TypeFor[Ref](),
	"CFAllocatorRef":                     reflect.TypeFor[Ref](),
	"CFDataRef":                          reflect.TypeFor[Ref](),
	"CFStringRef":                        reflect.TypeFor[Ref](),
	"CFArrayRef":                         reflect.TypeFor[Ref](),
	"CFDictionaryRef":                    reflect.TypeFor[Ref](),
	"CFErrorRef":                         reflect.TypeFor[Ref](),
	"CFBooleanRef":                       reflect.TypeFor[Ref](),
	"SecIdentityRef":                     reflect.TypeFor[Ref](),
	"SecCertificateRef":                  reflect.TypeFor[Ref](),
	"SecKeyRef":                          reflect.TypeFor[Ref](),
	"CFTypeRef *":                        reflect.TypeFor[*Ref](),
	"CFErrorRef *":                       reflect.TypeFor[*Ref](),
	"SecCertificateRef *":                reflect.TypeFor[*Ref](),
	"SecKeyRef *":                        reflect.TypeFor[*Ref](),
	"const CFDictionaryKeyCallBacks *":   reflect.TypeFor[uintptr](),
	"const CFDictionaryValueCallBacks *": reflect.TypeFor[uintptr](),
}

var (
	functionLine = regexp.MustCompile(`^(.+?) ?\b(\w+)\((.*)\)$`)
	variableLine = regexp.MustCompile(`^const (\w+) (\w+)$`)
	numberLine   = regexp.MustCompile(`^(\w+) = (\S+)$`)
)

// prototypes is the parsed testdata/prototypes.txt.
type prototypes struct {
	functions map[string]reflect.Type
	variables map[string]string
	numbers   map[string]int64
}

func readPrototypes(t *testing.T) prototypes {
	t.Helper()
	text, err := os.ReadFile("testdata/prototypes.txt")
	if err != nil {
		t.Fatal(err)
	}
	p := prototypes{make(map[string]reflect.Type), make(map[string]string), make(map[string]int64)}
	goType := func(c string) reflect.Type {
		typ, ok := goTypes[c]
		if !ok {
			t.Fatalf("C type %q is not in the table of types", c)
		}
		return typ
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if m := functionLine.FindStringSubmatch(line); m != nil {
			var in, out []reflect.Type
			if m[3] != "void" {
				for _, c := range strings.Split(m[3], ", ") {
					in = append(in, goType(c))
				}
			}
			if m[1] != "void" {
				out = append(out, goType(m[1]))
			}
			p.functions[m[2]] = reflect.FuncOf(in, out, false)
		} else if m := variableLine.FindStringSubmatch(line); m != nil {
			p.variables[m[2]] = m[1]
		} else if m := numberLine.FindStringSubmatch(line); m != nil {
			n, err := strconv.ParseInt(m[2], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			p.numbers[m[1]] = n
		} else {
			t.Fatalf("line %q has an unknown form", line)
		}
	}
	return p
}

func bound() []symbol { return append(new(cfFunctions).symbols(), new(secFunctions).symbols()...) }

func TestPrototypes(t *testing.T) {
	p := readPrototypes(t)
	for _, s := range bound() {
		want, ok := p.functions[s.name]
		delete(p.functions, s.name)
		if got := reflect.TypeOf(s.fn).Elem(); !ok || got != want {
			t.Errorf("%s is bound as %v, want %v", s.name, got, want)
		}
	}
	for name := range p.functions {
		t.Errorf("%s is not bound", name)
	}
	isRef := func(c string) bool { return goTypes[c] == reflect.TypeFor[Ref]() }
	for _, name := range slices.Concat(cfConstants, secConstants) {
		if !isRef(p.variables[name]) {
			t.Errorf("%s has type %q, want a CFTypeRef", name, p.variables[name])
		}
		delete(p.variables, name)
	}
	for _, name := range cfCallbacks {
		if !strings.HasSuffix(p.variables[name], "CallBacks") {
			t.Errorf("%s has type %q, want a struct of callbacks", name, p.variables[name])
		}
		delete(p.variables, name)
	}
	for name := range p.variables {
		t.Errorf("%s is not used", name)
	}
	for name, got := range map[string]int64{
		"kCFStringEncodingUTF8": encodingUTF8, "errSecSuccess": statusSuccess,
		"errSecItemNotFound": statusItemNotFound, "kSecKeyOperationTypeSign": operationSign,
	} {
		if want, ok := p.numbers[name]; !ok || got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// Each field is bound to the function with its name. TestPrototypes would not
// detect that two functions of the same type are swapped.
func TestFieldNames(t *testing.T) {
	for prefix, functions := range map[string]interface{ symbols() []symbol }{"CF": new(cfFunctions), "Sec": new(secFunctions)} {
		byAddress := make(map[uintptr]string)
		for _, s := range functions.symbols() {
			byAddress[reflect.ValueOf(s.fn).Pointer()] = s.name
		}
		fields := reflect.ValueOf(functions).Elem()
		for i := range fields.NumField() {
			name := prefix + fields.Type().Field(i).Name
			if got := byAddress[fields.Field(i).Addr().Pointer()]; got != name {
				t.Errorf("the field for %s is bound to %q", name, got)
			}
		}
	}
}

// TestSignaturesAreTrivial checks the rules in the comment of type symbol.
func TestSignaturesAreTrivial(t *testing.T) {
	word := []reflect.Kind{
		reflect.Uintptr, reflect.Int, reflect.Uint, reflect.Int32, reflect.Uint32, reflect.Uint8, reflect.Pointer,
	}
	for _, s := range bound() {
		f := reflect.TypeOf(s.fn).Elem()
		if f.NumIn() > 6 || f.NumOut() > 1 || f.IsVariadic() {
			t.Errorf("%s: %v", s.name, f)
		}
		for i := range f.NumIn() {
			if !slices.Contains(word, f.In(i).Kind()) {
				t.Errorf("%s has an argument of type %v", s.name, f.In(i))
			}
		}
		for i := range f.NumOut() {
			if !slices.Contains(word, f.Out(i).Kind()) {
				t.Errorf("%s has a result of type %v", s.name, f.Out(i))
			}
		}
	}
}

// The constants in scopes are loaded.
func TestConstantsOfScopes(t *testing.T) {
	known := slices.Concat(cfConstants, secConstants)
	for scope, entry := range scopes {
		for _, name := range entry {
			if !slices.Contains(known, name) {
				t.Errorf("%s: %s is not loaded", scope, name)
			}
		}
	}
}
