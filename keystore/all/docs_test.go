package all

import (
	"encoding/pem"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
)

// tables returns the rows of all tables in docs/references.md, by the first
// cell of their header row.
func tables(t *testing.T) map[string][][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/references.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][][]string)
	var head string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			head = ""
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case head == "":
			head = cells[0]
		case !strings.HasPrefix(cells[0], "---"):
			rows[head] = append(rows[head], cells)
		}
	}
	return rows
}

var code = regexp.MustCompile("`([^`]+)`")

func spans(cell string) (all []string) {
	for _, m := range code.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestSchemesInDocs(t *testing.T) {
	inDocs := make(map[string][]string) // scheme to row
	for _, row := range tables(t)["scheme"] {
		inDocs[strings.Trim(row[0], "`")] = row
	}
	for _, b := range Backends() {
		for _, scheme := range b.Schemes() {
			row, ok := inDocs[scheme]
			if !ok {
				t.Errorf("scheme %q is not in the table", scheme)
				continue
			}
			delete(inDocs, scheme)
			examples := spans(row[1])
			if len(examples) == 0 {
				t.Errorf("scheme %q has no example", scheme)
			}
			for _, example := range examples {
				if ref, err := keystore.ParseRef(example); err != nil || ref.Scheme != scheme {
					t.Errorf("example %s has scheme %q, error %v", example, ref.Scheme, err)
				}
			}
		}
	}
	for scheme := range inDocs {
		t.Errorf("scheme %q is in the table, but no backend has it", scheme)
	}
}

func TestPEMBlocksInDocs(t *testing.T) {
	rows := tables(t)["PEM blocks"]
	if len(rows) != 4 {
		t.Fatalf("%d rows, want 4: read, ignored, refused, and refused if nothing else is there", len(rows))
	}
	for i, row := range rows {
		wantRefused := i >= 2
		types := spans(row[0])
		if len(types) < 2 {
			t.Errorf("%q: %d types", row[1], len(types))
		}
		for _, blockType := range types {
			text := string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: []byte("x")}))
			_, err := New().Open(t.Context(), refOf(t, "env:X"), keystore.Options{LookupEnv: func(string) (string, bool) { return text, true }})
			if errors.Is(err, errors.ErrUnsupported) != wantRefused {
				t.Errorf("block %s: error %v, but the table says %q", blockType, err, row[1])
			}
		}
	}
}

// References print the values of their own attributes only.
func TestRefsPrintAttributes(t *testing.T) {
	for text, hidden := range map[string]bool{
		"pkcs11:token=a;manufacturer=a;serial=a;model=a;library-manufacturer=a;library-description=a;library-version=1;slot-description=a;slot-manufacturer=a;slot-id=1;object=a;type=cert;id=a?pin-source=a&module-name=a&module-path=/a": false,
		"tpm:path=a;handle=0x81010002;device=a;pin-source=a;parent-auth-source=a;parent=a;pcrs=sha256:7":                                                                                                                                   false,
		"winstore:subject=CN=a;issuer=CN=a;serial=1;sha256=a;sha1=a;newest=yes;location=user;store=MY;ui=no;key=a;provider=a":                                                                                                              false,
		"keychain:subject=CN=a;issuer=CN=a;serial=1;sha256=a;sha1=a;newest=yes;label=a;token=a":                                                                                                                                            false,
		"pkcs11:color=a": true, "tpm:color=a": true, "winstore:color=a": true, "keychain:color=a": true, "spiffe:color=a": true, "x:color=a": false,
		"spiffe:socket=/run/api.sock;id=spiffe://a/b;hint=a": false, "spiffe://a/b;socket=/run/api.sock;hint=a": false, "spiffe://a/b;color=a": true,
		"exec:program=/a;key=a;pin-source=a": false, "exec:color=a": true,
	} {
		if ref := refOf(t, text); (ref.String() != text) != hidden {
			t.Errorf("%s: String is %s", text, ref)
		}
	}
	for _, name := range selector.Attributes() {
		for _, scheme := range []string{"winstore", "keychain"} {
			if ref := refOf(t, scheme+":"+name+"=a"); !strings.HasSuffix(ref.String(), "a") {
				t.Errorf("String is %s", ref)
			}
		}
	}
}

func TestPINSourcesInDocs(t *testing.T) {
	var sources []string
	for _, row := range tables(t)["pin-source"] {
		sources = append(sources, spans(row[0])...)
	}
	for _, source := range sources {
		if _, err := New().PINSource(refOf(t, source), keystore.Options{}); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	if !slices.Contains(sources, "prompt") || len(sources) < 4 {
		t.Errorf("sources %q", sources)
	}
}
