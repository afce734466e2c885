package boundedtoml

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

type document struct {
	Name string   `toml:"name"`
	List []string `toml:"list"`
	Part struct {
		Name string `toml:"name"`
	} `toml:"part"`
}

func TestDecode(t *testing.T) {
	d, unknown, err := Decode[document](t.Context(), "name = \"a\"\nlist = [\"b\"]\nother = 1\nt.x = 2\n")
	if err != nil || d.Name != "a" || len(d.List) != 1 || len(unknown) != 2 || unknown[0].String() != "other" {
		t.Errorf("%+v, %v, %v", d, unknown, err)
	}
	for text, want := range map[string]string{
		"name = 1":                     `(last key "name"): the value must be a text in quotation marks, such as "a"`,
		"list = \"a\"":                 `(last key "list"): the value must be a list, such as ["a", "b"]`,
		"[list]\na=1":                  `line 1 (last key "list"): the value must be a list: write sections as [[list]], with two brackets, and texts as ["a", "b"]`,
		"name = a":                     `(last key "name"): put texts in quotation marks, such as "a"; only numbers, true and false have none`,
		"name = /a":                    `(last key "name"): put texts in quotation marks, such as "a"; only numbers, true and false have none`,
		"list = [a]":                   `(last key "list"): put texts in quotation marks, such as "a"; only numbers, true and false have none`,
		"name =\n":                     `(last key "name"): the value is missing`,
		"[[part]]\nname = \"a\"":       `line 1 (last key "part"): it can be given only once: write [part], with single brackets`,
		"part = 1":                     `(last key "part"): the value must be a table of keys and values`,
		"name = \"a\"\nname = \"b\"":   `line 2 (last key "name"): name is given twice`,
		"name = \"a\"\nName = \"b\"":   `Name and name are the same key`,
		"[part]\nNAME = ''\nname = ''": `part.NAME and part.name are the same key`,
	} {
		if _, _, err := Decode[document](t.Context(), text); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

// A value of another type in the place of a table is an error wherever it is.
func TestDecodeTables(t *testing.T) {
	type part struct {
		Tags  map[string]string  `toml:"tags"`
		Rates map[string]float64 `toml:"rates"`
	}
	type whole struct {
		part
		One  part   `toml:"one"`
		Ptr  *part  `toml:"ptr"`
		Many []part `toml:"many"`
	}
	for text, culprit := range map[string]string{
		"tags = 'a=b'":              "tags",
		"tags = ['a']":              "tags",
		"one = { rates = 1 }":       "one.rates",
		"[one]\nTAGS = true":        "one.TAGS",
		"[ptr]\nrates = 2026-11-29": "ptr.rates",
		"[[many]]\ntags = {a = 'b'}\n[[many]]\ntags = ''": "many.tags",
		"many = [{ tags = [] }]":                          "many.tags",
		"":                                                "",
		"tags = {a = 'b'}\nrates = {}\n[one.tags]\na = 'b'": "",
		"[[many]]\ntags.a = 'b'":                            "",
	} {
		_, _, err := Decode[whole](t.Context(), text)
		if culprit == "" && err != nil || culprit != "" && (err == nil || !strings.Contains(err.Error(), culprit+" is not a table")) {
			t.Errorf("%q: error %v, want one about %q", text, err, culprit)
		}
	}
}

// Texts within the size limit that take the decoder minutes are refused soon,
// and at once when the command is interrupted. The test runs in a process of
// its own, because the decoder continues.
func TestDecodeIsBounded(t *testing.T) {
	const size = 64 << 10
	texts := map[string]string{
		"keys with dots":      strings.Repeat("a.", size/2-8) + "a = 1",
		"headers with dots":   "[[" + strings.Repeat("a.", size/2-8) + "a]]",
		"nested tables":       "a = " + strings.Repeat("{a = ", size/6) + "1" + strings.Repeat("}", size/6),
		"an inline table":     "a = {" + strings.Repeat("a.", size/2-8) + "a = 1}",
		"many keys with dots": strings.Repeat(strings.Repeat("a.", 1000)+"a = 1\n", size/2006),
	}
	if name := os.Getenv("HOLDFAST_TEST_TEXT"); name != "" {
		begin := time.Now()
		if _, _, err := Decode[document](t.Context(), texts[name]); !errors.Is(err, ErrTooComplex) && time.Since(begin) > Limit {
			t.Errorf("error %v, want ErrTooComplex", err)
		}
		if took := time.Since(begin); took > 10*Limit {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := Decode[document](ctx, texts[name]); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: error %v", err)
		}
		return
	}
	for name := range texts {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDecodeIsBounded$", "-test.v")
		cmd.Env = append(os.Environ(), "HOLDFAST_TEST_TEXT="+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
