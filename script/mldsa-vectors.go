//go:build ignore

// Selects the test vectors of internal/mldsa/mldsatest:
//
//	git clone https://github.com/C2SP/wycheproof
//	git -C wycheproof checkout dac1dd4729fd1f8dd9e1e9f3dce51d783da6c166
//	go run script/mldsa-vectors.go wycheproof/testvectors_v1
//
// Of the vectors whose results, flags and comments differ in numbers only, it takes
// the first, and of those with a private key also the last. Of a valid signature it
// stores the hash if a private key can make it again. It leaves out expanded keys
// that are special only in how they come from a seed, and public keys that a private
// key has.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/mldsa/mldsatest"
)

type upstream struct {
	TestGroups []struct {
		PrivateKey, PrivateSeed, PrivateKeyPKCS8, PublicKey *hexBytes
		Tests                                               []struct {
			ID                     int `json:"tcId"`
			Comment, Result        string
			Flags                  []string
			Msg, Ctx, Mu, Rnd, Sig *hexBytes
		}
	}
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func (h *hexBytes) bytes() []byte {
	if h == nil {
		return nil
	}
	return *h
}

var (
	numbers   = regexp.MustCompile("[0-9]+")
	expansion = regexp.MustCompile("^(expand_|rej_)")
)

func main() {
	var groups []*mldsatest.Group
	for _, set := range []string{"44", "65", "87"} {
		groups = append(groups, selected(os.Args[1], set)...)
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	check(err)
	check(json.NewEncoder(w).Encode(groups))
	check(w.Close())
	check(os.WriteFile("internal/mldsa/mldsatest/vectors.json.gz", out.Bytes(), 0o644))
}

func selected(dir, set string) (groups []*mldsatest.Group) {
	byKey := map[string]*mldsatest.Group{}
	signed := map[string]bool{} // what private keys sign, and the signatures
	for _, kind := range []string{"sign_seed", "sign_noseed", "verify"} {
		var in upstream
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("mldsa_%s_%s_test.json", set, kind)))
		check(err)
		check(json.Unmarshal(b, &in))
		last := map[string]int{}
		for _, g := range in.TestGroups {
			for _, t := range g.Tests {
				last[nameOf(t.Flags, t.Result, t.Comment)] = t.ID
			}
		}
		seen := map[string]bool{}
		for _, g := range in.TestGroups {
			name := string(g.PublicKey.bytes())
			switch {
			case g.PublicKey == nil:
				name = string(g.PrivateKey.bytes()) + string(g.PrivateSeed.bytes())
			case kind == "verify":
				name = kind + name
			}
			group := byKey[name]
			if group == nil || group.Expanded != nil && !bytes.Equal(group.Expanded, g.PrivateKey.bytes()) {
				group = &mldsatest.Group{Set: "ML-DSA-" + set}
			}
			var tests []mldsatest.Test
			used := false
			for _, t := range g.Tests {
				key := nameOf(t.Flags, t.Result, t.Comment)
				wanted := !seen[key] || kind != "verify" && last[key] == t.ID
				seen[key] = true
				input := fmt.Sprintf("%x %x %x %x", name, t.Msg.bytes(), t.Mu.bytes(), t.Rnd.bytes())
				switch {
				case !wanted, kind == "verify" && signed[string(t.Sig.bytes())],
					kind != "verify" && len(t.Ctx.bytes()) > 0, kind == "sign_noseed" && expansion.MatchString(t.Comment):
					continue
				}
				used = true
				if kind == "sign_noseed" && signed[input] && byKey[name] == group {
					continue
				}
				test := mldsatest.Test{
					Comment: t.Comment, Flags: t.Flags, Valid: t.Result == "valid",
					Message: t.Msg.bytes(), Context: t.Ctx.bytes(), Random: t.Rnd.bytes(),
				}
				if t.Msg == nil {
					test.Mu = t.Mu.bytes()
				}
				if kind == "verify" {
					test.Signature = t.Sig.bytes()
				} else if test.Valid {
					hash := sha256.Sum256(t.Sig.bytes())
					test.Hash = hash[:]
					signed[input], signed[string(t.Sig.bytes())] = true, true
				}
				tests = append(tests, test)
			}
			if !used {
				continue
			}
			group.Tests = append(group.Tests, tests...)
			switch kind {
			case "verify":
				group.Public = g.PublicKey.bytes()
			case "sign_seed":
				group.Seed = g.PrivateSeed.bytes()
				if b := g.PrivateKeyPKCS8.bytes(); b != nil { // not all groups have it
					group.PKCS8 = b
				}
			default:
				group.Expanded = g.PrivateKey.bytes()
			}
			if byKey[name] != group {
				byKey[name] = group
				groups = append(groups, group)
			}
		}
	}
	return groups
}

func nameOf(flags []string, result, comment string) string {
	return numbers.ReplaceAllString(strings.Join(append(flags, result, comment), "|"), "0")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
