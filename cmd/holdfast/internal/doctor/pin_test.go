//go:build unix

package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A typed PIN is compared with that in the file, without a try.
func TestCompareTyped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]string{"1234": "", "4321": "the one in " + file + " is another one"} {
		p := &patient{stored: file}
		p.key.PINSource.Prompt = true
		ask := p.compareTyped(func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(typed), nil })
		if pin, err := ask(t.Context(), keystore.Prompt{}); err != nil || string(pin) != typed {
			t.Errorf("%s, %v", pin, err)
		}
		results := p.checkTyped()
		if len(results) != min(len(want), 1) || want != "" && (!strings.Contains(results[0].Seen, want) || !strings.Contains(results[0].Command, file)) {
			t.Errorf("%s: %+v", typed, results)
		}
	}
}

// A command of the report writes to no file that exists.
func TestNewFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, want := range []string{"trust.json", "trust-2.json", "trust-3.json"} {
		name := newFile("trust.json")
		if name != want {
			t.Errorf("%s, want %s", name, want)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A module that prints without an end does not fill the memory, and hides no step.
func TestReceiveLimit(t *testing.T) {
	long := strings.Repeat("x", 3*longestStep)
	var steps []string
	text := long + "\nMARK{\"Name\":\"key\"}\n" + long + "\nMARK{}\n"
	if !receive(strings.NewReader(text), "MARK", func(s step) { steps = append(steps, s.Name) }) || len(steps) != 1 || steps[0] != "key" {
		t.Errorf("%q", steps)
	}
	if receive(strings.NewReader(long), "MARK", func(step) {}) {
		t.Error("the last step did not come")
	}
}

func TestLineOf(t *testing.T) {
	const same = `{"Effect":"Allow"}`
	for _, test := range []struct {
		policy    string
		statement int
		want      int
	}{
		{"{\n\"Statement\":\n" + same + "}", 1, 3},
		{"{\"Statement\":[" + same + ",\n" + same + ",\n\n" + same + "]}", 3, 4},
		{"{\"Statement\":[" + same + ",\n" + same + "]}", 1, 1},
		{"{", 1, 1},
		{"{}", 2, 1},
	} {
		if got := lineOf([]byte(test.policy), test.statement); got != test.want {
			t.Errorf("%q, statement %d: line %d, want %d", test.policy, test.statement, got, test.want)
		}
	}
}

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		results []result
		online  bool
		want    string
	}{
		{nil, false, "no fault found; --online creates a session"},
		{nil, true, "no fault found"},
		{[]result{{State: skipped, Check: "key", Command: "holdfast doctor --use-pin"}}, true, "no fault found; --use-pin opens the key"},
		{[]result{{State: warning, Check: "files"}}, false, "0 faults, 1 warning"},
		{[]result{{State: warning, Check: "files"}, {State: fault, Check: "key"}, {State: fault, Check: "rules"}}, false, "2 faults, 1 warning; begin with key"},
	} {
		if got := summary(test.results, test.online); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
