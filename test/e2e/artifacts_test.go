package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// artifacts are the logs of this run, from where they stood when it began.
type artifacts struct {
	began   time.Time
	offsets map[string]int64
}

// newArtifacts notes where the logs stand.
func newArtifacts() (*artifacts, error) {
	a := &artifacts{began: time.Now(), offsets: map[string]int64{}}
	logs, err := filepath.Glob(filepath.Join(env.Dir, "log", "*.log"))
	if err != nil {
		return nil, err
	}
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil {
			return nil, err
		}
		a.offsets[log] = info.Size()
	}
	return a, nil
}

// keep copies what the logs took in during a failed run to a folder of its own, and says where it is.
func (a *artifacts) keep() error {
	dir := os.Getenv("ARTIFACT_DIR")
	if dir == "" {
		dir = filepath.Join(env.Repo, "_artifacts")
	}
	dir = filepath.Join(dir, "e2e", a.began.UTC().Format("20060102T150405Z"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(env.Dir, "log", "*.log"))
	if err != nil {
		return err
	}
	var errs []error
	for _, log := range logs {
		errs = append(errs, copyFrom(log, a.offsets[log], filepath.Join(dir, filepath.Base(log))))
	}
	fmt.Fprintln(os.Stderr, "e2e: the logs of this run are kept in", dir)
	return errors.Join(errs...)
}

// copyFrom copies a file from an offset on; all of it if it has become shorter since.
func copyFrom(from string, offset int64, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || info.Size() < offset {
		offset = 0
	}
	if _, err := in.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}
