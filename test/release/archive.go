package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is a file of an archive.
type entry struct {
	mode     fs.FileMode
	modified time.Time
	// owner is the number of a user and of a group. A zip archive has none.
	owner string
}

// checkArchives returns everything that is wrong with the archives of a manifest. All files have the time of the commit, which
// is the same in all archives.
func checkArchives(dist string, m manifest) error {
	var errs []error
	times := map[time.Time]bool{}
	for _, p := range m.Spec.Platforms {
		content, err := os.ReadFile(filepath.Join(dist, p.archive()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, equal("sha256 of "+p.String(), p.SHA256, checksum(content)))
		entries, err := readArchive(p.archive(), content)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading %s: %w", p.archive(), err))
			continue
		}
		errs = append(errs, checkEntries(p, entries))
		for _, e := range entries {
			times[e.modified.UTC()] = true
		}
	}
	if len(times) > 1 {
		errs = append(errs, fmt.Errorf("the files of the archives have %d times of modification, expected is one", len(times)))
	}
	return errors.Join(errs...)
}

func checksum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// checkEntries compares the files of a platform's archive with what has to be in it.
func checkEntries(p platform, entries map[string]entry) error {
	want := map[string]fs.FileMode{p.Bin: 0o755, "kubectl_complete-" + pluginName: 0o755, "LICENSE": 0o644}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(want)) {
		e, ok := entries[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s lacks %s", p.archive(), name))
		case e.mode != want[name]:
			errs = append(errs, fmt.Errorf("%s in %s has mode %s, expected %s", name, p.archive(), e.mode, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if _, ok := want[name]; !ok {
			errs = append(errs, fmt.Errorf("%s contains %s, which is not expected", p.archive(), name))
		}
		if owner := entries[name].owner; owner != "" {
			errs = append(errs, equal("owner of "+name+" in "+p.archive(), owner, "0:0"))
		}
	}
	return errors.Join(errs...)
}

// readArchive returns the files of an archive by their names.
func readArchive(name string, content []byte) (map[string]entry, error) {
	if filepath.Ext(name) == ".zip" {
		return readZip(content)
	}
	return readTarGz(content)
}

func readZip(content []byte) (map[string]entry, error) {
	r, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, err
	}
	entries := map[string]entry{}
	for _, f := range r.File {
		entries[f.Name] = entry{mode: f.Mode(), modified: f.Modified}
	}
	return entries, nil
}

func readTarGz(content []byte) (map[string]entry, error) {
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	entries := map[string]entry{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		entries[h.Name] = entry{mode: h.FileInfo().Mode(), modified: h.ModTime, owner: fmt.Sprintf("%d:%d", h.Uid, h.Gid)}
	}
}

// checkChecksums compares the file of checksums with the manifest, line by line.
func checkChecksums(dist string, m manifest) error {
	name := fmt.Sprintf("%s_%s_checksums.txt", command, m.Spec.Version)
	content, err := os.ReadFile(filepath.Join(dist, name))
	if err != nil {
		return err
	}
	got := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	var want []string
	for _, p := range m.Spec.Platforms {
		want = append(want, p.SHA256+"  "+p.archive())
	}
	slices.Sort(got)
	slices.Sort(want)
	return equal(name, strings.Join(got, "\n"), strings.Join(want, "\n"))
}
