package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageUser is the number by which images without a shell run by convention.
const imageUser = "65532"

const passwd = `root:x:0:0:root:/:/sbin/nologin
holdfast:x:` + imageUser + ":" + imageUser + `:holdfast:/:/sbin/nologin
`

const group = "root:x:0:\nholdfast:x:" + imageUser + ":\n"

// writeImage writes an image of several platforms as an archive in the OCI image layout.
func writeImage(_ context.Context, r *release) error {
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	variants := 0
	for _, t := range r.targets {
		if !t.image {
			continue
		}
		image, err := r.image(t)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: t.os, Architecture: t.arch}},
		})
		variants++
	}
	if variants == 0 {
		return nil
	}
	dir := filepath.Join(r.work, "image")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	reference := map[string]string{"org.opencontainers.image.ref.name": r.tag()}
	if err := path.AppendIndex(index, layout.WithAnnotations(reference)); err != nil {
		return err
	}
	files, err := tree(dir, "")
	if err != nil {
		return err
	}
	return writeTo(r.name("_image.tar"), func(w io.Writer) error { return writeTar(w, withFolders(files), r.time) })
}

// tag returns the version as the tag of an image, which has no plus sign.
func (r *release) tag() string {
	return strings.ReplaceAll(strings.TrimPrefix(r.version, "v"), "+", "-")
}

// image returns the image of one platform.
func (r *release) image(t target) (v1.Image, error) {
	files, err := r.imageFiles(t)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if err := writeTar(&content, withFolders(files), r.time); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "make release"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, r.imageConfig(t, image))
}

func (r *release) imageConfig(t target, image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		panic(err) // it is in memory
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = t.os, t.arch, v1.Time{Time: r.time}
	config.Config = v1.Config{
		User:       imageUser + ":" + imageUser,
		Env:        []string{"PATH=/usr/bin", "HOME=/"},
		Entrypoint: []string{"/usr/bin/holdfast"},
		Cmd:        []string{"help"},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    "holdfast",
			"org.opencontainers.image.version":  r.version,
			"org.opencontainers.image.source":   "https://github.com/holdfast-dev/holdfast",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return config
}

func (r *release) imageFiles(t target) ([]file, error) {
	files := []file{
		{name: "usr/bin/holdfast", mode: 0o755, source: r.program(t, "holdfast")},
		{name: "usr/share/doc/holdfast/copyright", mode: 0o644, source: r.copyright()},
		{name: "tmp", mode: os.ModeDir | os.ModeSticky | 0o777},
	}
	for name, text := range map[string]string{
		"etc/passwd": passwd, "etc/group": group, "etc/ssl/certs/ca-certificates.crt": roots(),
	} {
		path, err := r.generate(filepath.Join("image-files", name), []byte(text))
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: name, mode: 0o644, source: path})
	}
	return files, nil
}

// roots returns the CAs that Mozilla's programs trust, as of the version of the module
// x509roots/fallback. A CA of which they trust only certificates of some time is not
// among them, because a file cannot say that.
func roots() string {
	var text strings.Builder
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return text.String()
}
