package toolchain

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// downloader downloads release archives.
type downloader struct {
	client *http.Client
	// answerTimeout is how long a server may take to begin its answer. One that takes longer is not asked again.
	answerTimeout time.Duration
	// stallTimeout is how long a download may go without a byte.
	stallTimeout time.Duration
	// attempts is how often a download is begun or resumed, pause the time between two attempts.
	attempts int
	pause    time.Duration
}

// newDownloader uses the proxy that the environment names, like curl.
func newDownloader() *downloader {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	return &downloader{
		client: &http.Client{Transport: &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		}},
		answerTimeout: 5 * time.Second,
		stallTimeout:  30 * time.Second,
		attempts:      4,
		pause:         time.Second,
	}
}

// errPermanent marks a failure that another attempt would meet too.
var errPermanent = errors.New("giving up")

// fetch downloads an archive into a folder, resuming what an earlier attempt left there, and verifies it. The file's path
// is returned only if its checksum is right.
func (d *downloader) fetch(ctx context.Context, a archive, dir string) (file string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file = filepath.Join(dir, path.Base(a.URL)+".part")
	_, err = os.Stat(file)
	resumed := err == nil
	for {
		if err := d.fetchWhole(ctx, a.URL, file); err != nil {
			return "", fmt.Errorf("downloading %s: %w", a.URL, err)
		}
		if err = a.verify(file); err == nil {
			return file, nil
		}
		if err := errors.Join(err, os.Remove(file)); !resumed {
			return "", err
		}
		resumed = false // what an earlier run left was wrong: once more from the beginning
	}
}

// fetchWhole begins or resumes a download until the file is complete, an attempt meets what another would meet too, or the
// attempts are used up.
func (d *downloader) fetchWhole(ctx context.Context, from, file string) (err error) {
	for attempt := range d.attempts {
		if attempt > 0 && !sleep(ctx, d.pause) {
			break
		}
		if err = d.fetchOnce(ctx, from, file); err == nil || ctx.Err() != nil || errors.Is(err, errPermanent) {
			break
		}
	}
	return err
}

// sleep returns false if the context ends before the time has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// fetchOnce asks for what the file does not have yet and appends it.
func (d *downloader) fetchOnce(ctx context.Context, from, file string) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := out.Stat()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := time.AfterFunc(d.answerTimeout, func() {
		cancel(fmt.Errorf("%w: no answer within %s", errPermanent, d.answerTimeout))
	})
	defer timeout.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	if info.Size() > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", info.Size()))
	}
	response, err := d.client.Do(request)
	if err != nil {
		return cause(ctx, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK: // from the beginning, whatever was asked for
		if err := out.Truncate(0); err != nil {
			return err
		}
	case http.StatusRequestedRangeNotSatisfiable: // nothing is missing; the checksum says whether that is so
		return nil
	default:
		err := fmt.Errorf("the server answered %s", response.Status)
		if response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError {
			return err
		}
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	timeout.Stop()
	timeout = time.AfterFunc(d.stallTimeout, func() { cancel(fmt.Errorf("no data for %s", d.stallTimeout)) })
	defer timeout.Stop()
	_, err = io.Copy(out, progressReader{response.Body, func() { timeout.Reset(d.stallTimeout) }})
	return cause(ctx, err)
}

// progressReader calls a function after every successful read.
type progressReader struct {
	io.Reader
	progressed func()
}

func (r progressReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.progressed()
	}
	return n, err
}

// cause replaces "context canceled" by why the context was canceled.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// verify compares the file's checksum with the one that was published.
func (a archive) verify(file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	name, want, sum := "SHA-256", a.SHA256, sha256.New()
	if a.SHA512 != "" {
		name, want, sum = "SHA-512", a.SHA512, sha512.New()
	}
	if _, err := io.Copy(sum, in); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want || want == "" {
		return fmt.Errorf("%s has %s %s, and releases.json says %q: the file is not used", a.URL, name, got, want)
	}
	return nil
}

// extract moves the archive's programs into a folder, each in one step.
func (a archive) extract(file, dir string) error {
	temp, err := os.MkdirTemp(dir, ".extract-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	names := map[string]string{}
	for name, inside := range a.Programs {
		names[path.Clean(inside)] = name
	}
	if err := untar(in, temp, names); err != nil {
		return fmt.Errorf("unpacking %s: %w", a.URL, err)
	}
	for name, inside := range a.Programs {
		err := os.Rename(filepath.Join(temp, name), filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s holds no %s", a.URL, inside)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// untar writes the named files of a .tar.gz into a folder, as executables.
func untar(in io.Reader, dir string, names map[string]string) error {
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	for files := tar.NewReader(unzipped); len(names) > 0; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, wanted := names[path.Clean(header.Name)]
		if !wanted || header.Typeflag != tar.TypeReg {
			continue
		}
		delete(names, path.Clean(header.Name))
		out, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, files); err != nil {
			return errors.Join(err, out.Close())
		}
		if err := out.Close(); err != nil {
			return err
		}
	}
	return nil
}
