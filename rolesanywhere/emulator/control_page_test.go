package emulator

import (
	"fmt"
	"net/url"
	"strconv"
	"testing"
)

// pages returns the names of all resources of a list, and calls between after each page.
func (w *testEnv) pages(t *testing.T, operation, member string, size int, between func(page int)) (names []string) {
	t.Helper()
	token := ""
	for page := 0; ; page++ {
		query := url.Values{"pageSize": {strconv.Itoa(size)}}
		if token != "" {
			query.Set("nextToken", token)
		}
		got := w.control(t, controlCall{operation: operation, query: query})
		if got.status != 200 {
			t.Fatalf("page %d: %d %s", page, got.status, got.message)
		}
		list := got.out.list(member)
		if len(list) > size {
			t.Errorf("page %d has %d resources, want at most %d", page, len(list), size)
		}
		for _, r := range list {
			names = append(names, r.string("name"))
		}
		if token = got.out.string("nextToken"); token == "" {
			return names
		}
		between(page)
	}
}

func TestPages(t *testing.T) {
	w := newControlEnv(t)
	const n = 7
	for i := range n {
		w.must(t, "CreateProfile", "", profileInputOf("name", fmt.Sprint(i)))
	}
	for size := 1; size <= n+1; size++ {
		requests := 1
		got := w.pages(t, "ListProfiles", "profiles", size, func(int) { requests++ })
		if fmt.Sprint(got) != "[0 1 2 3 4 5 6]" || requests != (n+size-1)/size {
			t.Errorf("page size %d: %v in %d requests", size, got, requests)
		}
	}
}

// While others create and delete, each resource that exists all the time is listed
// exactly once, and no resource is listed twice.
func TestPagesWhileOthersChange(t *testing.T) {
	w := newControlEnv(t)
	ids := make(map[string]string)
	create := func(name string) {
		ids[name] = w.must(t, "CreateTrustAnchor", "", w.anchorInput("name", name)).object("trustAnchor").string("trustAnchorId")
	}
	for i := range 6 {
		create(fmt.Sprint("stays", i))
		create(fmt.Sprint("goes", i))
	}
	for size := 1; size <= 4; size++ {
		seen := make(map[string]int)
		for _, name := range w.pages(t, "ListTrustAnchors", "trustAnchors", size, func(page int) {
			// One that was listed or will be, and the last one that was listed.
			for name, id := range ids {
				if name == fmt.Sprint("goes", page%6) {
					w.must(t, "DeleteTrustAnchor", id, nil)
					delete(ids, name)
				}
			}
			if page < 6 {
				create(fmt.Sprint("new", size, page))
			}
			w.must(t, "UpdateTrustAnchor", ids["stays0"], object{"aliasName": fmt.Sprint("a", size, "-", page)})
		}) {
			seen[name]++
		}
		for i := range 6 {
			if name := fmt.Sprint("stays", i); seen[name] != 1 {
				t.Errorf("page size %d: %s is listed %d times", size, name, seen[name])
			}
			if name := fmt.Sprint("goes", i); ids[name] == "" {
				create(name)
			}
		}
		for name, times := range seen {
			if times > 1 {
				t.Errorf("page size %d: %s is listed %d times", size, name, times)
			}
		}
		for name, id := range ids { // the quota
			if len(name) > 3 && name[:3] == "new" {
				w.must(t, "DeleteTrustAnchor", id, nil)
				delete(ids, name)
			}
		}
	}
}

func TestQuotas(t *testing.T) {
	w := newControlEnv(t)
	var last string
	for range maxAnchors {
		last = w.must(t, "CreateTrustAnchor", "", w.anchorInput()).object("trustAnchor").string("trustAnchorArn")
	}
	full := func(operation string, body any) {
		t.Helper()
		if got := w.control(t, controlCall{operation: operation, body: body}); got.code != codeValidation {
			t.Errorf("%s above the quota: %d %s", operation, got.status, got.code)
		}
	}
	full("CreateTrustAnchor", w.anchorInput())
	for range maxAnchorCRLs {
		w.must(t, "ImportCrl", "", w.crlInput(t, last))
	}
	full("ImportCrl", w.crlInput(t, last))
	w.must(t, "DeleteTrustAnchor", last, nil)
	w.must(t, "CreateTrustAnchor", "", w.anchorInput())
	for range maxProfiles {
		w.must(t, "CreateProfile", "", profileInputOf())
	}
	full("CreateProfile", profileInputOf())
}
