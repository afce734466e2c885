package blob_test

import (
	"bytes"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// sign-blob writes two public files and no more, and replaces only what it wrote.
func TestOutputs(t *testing.T) {
	f := newSigner(t, "ed25519") // whose signatures are always the same
	f.good(signApp...)
	if got, want := f.files(), []string{"app", "app.sig", "app.sig.pem", "ca.pem", "cert.pem", "key.pem"}; !slices.Equal(got, want) {
		t.Errorf("files %q", got)
	}
	for _, name := range []string{"app.sig", "app.sig.pem"} {
		info, err := os.Stat(name)
		if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o644 {
			t.Errorf("%s: mode %v, error %v", name, info.Mode(), err)
		}
	}
	good := f.read("app.sig")
	raw := f.good(with(signApp, "--signature", "-")...)
	if raw != string(good) {
		t.Errorf("standard output has %x", raw)
	}

	f.bad(front.ExitOther, signApp, "app.sig: file already exists, and is not replaced", "hint: replace it with --force")
	if err := os.Remove("app.sig"); err != nil {
		t.Fatal(err)
	}
	f.bad(front.ExitOther, signApp, "app.sig.pem: file already exists, and is not replaced")
	if slices.Contains(f.files(), "app.sig") {
		t.Error("the signature was written without its certificate")
	}
	f.good(with(signApp, "--force")...)

	// Without the certificate, the old one is not that of the signature.
	bare := []string{"sign-blob", "--private-key", "key.pem", "app"}
	f.bad(front.ExitOther, with(bare, "--force"), "app.sig.pem: the certificate of the key is not known", "--certificate")
	f.good(with(bare, "--signature", "bare.sig")...)
	if slices.Contains(f.files(), "bare.sig.pem") {
		t.Error("there is a certificate")
	}

	force := func(signature string) []string { return with(signApp, "--force", "--signature", signature) }
	for name, data := range map[string][]byte{
		"a certificate": f.read("cert.pem"), "a key": f.read("key.pem"), "a long file": make([]byte, 8<<10+1), "base64": []byte("dGV4dA==\n"), "text": []byte("my notes, à part\n"),
	} {
		f.write("kept", data)
		f.bad(front.ExitOther, force("kept"), "kept: contains something other than a signature, and is not replaced")
		if !bytes.Equal(f.read("kept"), data) {
			t.Errorf("%s was replaced", name)
		}
	}
	for name, data := range map[string][]byte{"a key": f.read("key.pem"), "a certificate and a key": append(f.read("cert.pem"), f.read("key.pem")...), "text": []byte("notes")} {
		f.write("new.sig.pem", data)
		f.bad(front.ExitOther, force("new.sig"), "new.sig.pem: contains something other than a certificate, and is not replaced")
		if !bytes.Equal(f.read("new.sig.pem"), data) {
			t.Errorf("%s was replaced", name)
		}
	}
	f.bad(front.ExitOther, force("app"), "app: is the file that is to be signed")
	f.write("x.pem", []byte("content"))
	f.bad(front.ExitOther, []string{"sign-blob", "--certificate", "cert.pem", "--private-key", "key.pem", "--force", "--signature", "x", "x.pem"}, "x.pem: is the file that is to be signed")
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	f.bad(front.ExitOther, force("folder"), "folder: is not a regular file")
	f.bad(front.ExitNotFound, force("none/app.sig"), "none/app.sig: ")
	_ = os.Symlink("key.pem", "link")
	if info, err := os.Lstat("link"); err == nil && info.Mode()&fs.ModeSymlink != 0 { // Wine makes an empty file
		f.bad(front.ExitOther, force("link"), "link: is not a regular file")
		f.bad(front.ExitOther, with(signApp, "--signature", "link"), "link: file already exists")
		if !bytes.HasPrefix(f.read("key.pem"), []byte("-----BEGIN ")) {
			t.Error("the key is not there")
		}
	}
	if names := f.files(); slices.ContainsFunc(names, func(n string) bool { return n[0] == '.' }) {
		t.Errorf("temporary files remain: %q", names)
	}
}
