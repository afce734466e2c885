// Command packaging builds the files of a release: archives, packages for Debian and
// for RPM, an image, the list of what is in them, and checksums. Nothing in them depends
// on the machine, its clock or the path of the clone, so that anyone who builds a
// commit with the same release of Go gets the same bytes.
//
// script/release runs it; docs/releasing.md describes the files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A release is what all steps need to know. It is not changed after the binaries exist.
type release struct {
	root    string    // the folder of the repository
	out     string    // the folder of the results
	work    string    // a folder for files that are needed meanwhile
	version string    // such as v0.1.0; of the binaries if it was not given
	time    time.Time // of every file
	targets []target
}

// steps are in the order in which they are done: the first ones make what the others read.
var steps = []struct {
	name string
	do   func(context.Context, *release) error
}{
	{"programs", buildPrograms},
	{"manual pages and completions", writeShare},
	{"licenses", writeLicenses},
	{"archives", writeArchives},
	{"packages", writePackages},
	{"image", writeImage},
	{"bill of materials", writeSBOM},
	{"checksums", writeChecksums},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	root := flag.String("root", "..", "`folder` of the repository")
	out := flag.String("out", "", "`folder` for the results; those of an older release are replaced")
	names := flag.String("targets", "", "`list` of targets, such as linux/amd64,linux/arm64; all by default")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		return errors.New("usage: packaging -out FOLDER [-targets LIST] [-root FOLDER]")
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return errors.New("SOURCE_DATE_EPOCH is not set to a time in seconds")
	}
	r := &release{version: os.Getenv("HOLDFAST_VERSION"), time: time.Unix(epoch, 0).UTC()}
	if err := refuseVersion(r.version); err != nil {
		return err
	}
	if r.root, err = filepath.Abs(*root); err != nil {
		return err
	}
	if r.out, err = filepath.Abs(*out); err != nil {
		return err
	}
	if r.targets, err = selectTargets(*names); err != nil {
		return err
	}
	return r.make(ctx)
}

var versionForm = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$`)

// refuseVersion refuses a version that would be a path or a flag of the linker. "" is that
// of the repository.
func refuseVersion(version string) error {
	if version != "" && !versionForm.MatchString(version) {
		return fmt.Errorf("HOLDFAST_VERSION is %q, not a version such as v0.1.0", version)
	}
	return nil
}

// make does all steps. The folder r.out is as it was before if one fails.
func (r *release) make(ctx context.Context) (err error) {
	if err := replaceable(r.out); err != nil {
		return err
	}
	final := r.out
	r.out = final + ".new"
	if r.work, err = os.MkdirTemp("", "holdfast-release-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	for _, step := range steps {
		fmt.Println(step.name)
		if err := step.do(ctx, r); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", step.name, err), os.RemoveAll(r.out))
		}
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(r.out, final)
}

// replaceable returns an error for a folder that has files, but not those of a release.
func replaceable(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(folder, checksums)); err != nil {
		return fmt.Errorf("%s has files that are not of a release; remove it, or name another folder: %w", folder, err)
	}
	return nil
}

// name returns the name of a result, such as holdfast_0.1.0_linux_amd64.tar.gz.
func (r *release) name(rest string) string {
	return filepath.Join(r.out, "holdfast_"+strings.TrimPrefix(r.version, "v")+rest)
}
