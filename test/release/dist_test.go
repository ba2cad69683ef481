package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const testVersion = "v1.2.3"

var commitTime = time.Date(2026, 11, 30, 12, 0, 1, 0, time.UTC)

// testFile is a file to be put into an archive.
type testFile struct {
	name     string
	mode     fs.FileMode
	modified time.Time
	uid      int
}

// testDist is what a release consists of. Its zero value is nothing; newTestDist makes one without an error.
type testDist struct {
	manifest manifest
	// files are the files of each archive, checksums the lines of the file of checksums.
	files     map[string][]testFile
	checksums []string
}

func newTestDist(t *testing.T) *testDist {
	t.Helper()
	d := &testDist{files: map[string][]testFile{}}
	d.manifest.Metadata.Name = pluginName
	d.manifest.Spec = spec{Version: testVersion, Homepage: projectURL, ShortDescription: "Register clusters", Description: "It does."}
	for _, name := range platformNames {
		goos, arch, _ := strings.Cut(name, "/")
		p := platform{Bin: command, Selector: selector{MatchLabels: matchLabels{OS: goos, Arch: arch}}}
		archive := command + "_" + testVersion + "_" + goos + "_" + arch + ".tar.gz"
		if goos == "windows" {
			p.Bin, archive = command+".exe", strings.TrimSuffix(archive, ".tar.gz")+".zip"
		}
		p.URI = projectURL + "/releases/download/" + testVersion + "/" + archive
		d.files[archive] = []testFile{
			{name: "LICENSE", mode: 0o644, modified: commitTime},
			{name: "kubectl_complete-synctarget", mode: 0o755, modified: commitTime},
			{name: p.Bin, mode: 0o755, modified: commitTime},
		}
		d.manifest.Spec.Platforms = append(d.manifest.Spec.Platforms, p)
	}
	d.sum(t)
	return d
}

// sum sets the checksums of the manifest and of the file of checksums to those of the archives.
func (d *testDist) sum(t *testing.T) {
	t.Helper()
	d.checksums = nil
	for i := range d.manifest.Spec.Platforms {
		p := &d.manifest.Spec.Platforms[i]
		p.SHA256 = checksum(d.archive(t, p.archive()))
		d.checksums = append(d.checksums, p.SHA256+"  "+p.archive())
	}
}

// archive is the content of an archive.
func (d *testDist) archive(t *testing.T, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	if strings.HasSuffix(name, ".zip") {
		err = writeZip(&out, d.files[name])
	} else {
		err = writeTarGz(&out, d.files[name])
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeZip(out io.Writer, files []testFile) error {
	z := zip.NewWriter(out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Modified: f.modified}
		header.SetMode(f.mode)
		if _, err := z.CreateHeader(header); err != nil {
			return err
		}
	}
	return z.Close()
}

func writeTarGz(out io.Writer, files []testFile) error {
	z := gzip.NewWriter(out)
	w := tar.NewWriter(z)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode), ModTime: f.modified, Uid: f.uid}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return z.Close()
}

// write writes the release into a folder and returns it. more is appended to the manifest.
func (d *testDist) write(t *testing.T, more string) string {
	t.Helper()
	dist := t.TempDir()
	text, err := yaml.Marshal(d.manifest)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dist, "krew", "synctarget.yaml"), append(text, more...), 0o644)
	for name := range d.files {
		writeFile(t, filepath.Join(dist, name), d.archive(t, name), 0o644)
	}
	checksums := []byte(strings.Join(d.checksums, "\n") + "\n")
	writeFile(t, filepath.Join(dist, command+"_"+testVersion+"_checksums.txt"), checksums, 0o644)
	return dist
}

func writeFile(t *testing.T, name string, content []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, mode); err != nil {
		t.Fatal(err)
	}
}
