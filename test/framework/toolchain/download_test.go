package toolchain

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// release is an archive with one program, and its checksum.
func release(t *testing.T) (data []byte, sum string) {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	files := tar.NewWriter(zipped)
	program := bytes.Repeat([]byte("a program "), 10_000)
	for name, content := range map[string][]byte{"README": []byte("hello"), "bin/tool": program} {
		if err := files.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(out.Bytes())
	return out.Bytes(), hex.EncodeToString(hash[:])
}

func impatient() *downloader {
	d := newDownloader()
	d.answerTimeout, d.stallTimeout, d.pause = 200*time.Millisecond, 200*time.Millisecond, 0
	return d
}

// TestFetch: whatever the server does, a file is returned only if its checksum is right.
func TestFetch(t *testing.T) {
	data, sum := release(t)
	whole := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.tar.gz", time.Time{}, bytes.NewReader(data))
	}
	for name, tc := range map[string]struct {
		serve    func(request int) http.HandlerFunc
		sum      string
		requests int32
		err      string
	}{
		"right sum": {
			serve: func(int) http.HandlerFunc { return whole }, sum: sum, requests: 1,
		},
		"wrong sum": {
			serve: func(int) http.HandlerFunc { return whole }, sum: strings.Repeat("0", 64), requests: 1, err: "the file is not used",
		},
		"no sum": {
			serve: func(int) http.HandlerFunc { return whole }, requests: 1, err: "the file is not used",
		},
		"not found": {
			serve: func(int) http.HandlerFunc { return http.NotFound }, sum: sum, requests: 1, err: "the server answered 404",
		},
		"overloaded for a moment": {
			serve: func(request int) http.HandlerFunc {
				if request == 1 {
					return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
				}
				return whole
			}, sum: sum, requests: 2,
		},
		"redirected": {
			serve: func(request int) http.HandlerFunc {
				if request == 1 {
					return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }
				}
				return whole
			}, sum: sum, requests: 2,
		},
		"cut, then resumed where it was cut": {
			serve: func(request int) http.HandlerFunc {
				if request == 1 {
					return cut(data)
				}
				return func(w http.ResponseWriter, r *http.Request) {
					if want := fmt.Sprintf("bytes=%d-", len(data)/2); r.Header.Get("Range") != want {
						t.Errorf("the second request asks for %q, want %q", r.Header.Get("Range"), want)
					}
					whole(w, r)
				}
			}, sum: sum, requests: 2,
		},
		"cut, and the server knows no ranges": {
			serve: func(request int) http.HandlerFunc {
				if request == 1 {
					return cut(data)
				}
				return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
			}, sum: sum, requests: 2,
		},
		"always cut": {
			serve: func(int) http.HandlerFunc { return cut(nil) }, sum: sum, requests: 4, err: "unexpected EOF",
		},
		"an answer that does not come": {
			serve: func(int) http.HandlerFunc { return hang }, sum: sum, requests: 1, err: "no answer within 200ms",
		},
		"data that does not come": {
			serve: func(int) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", "100")
					w.WriteHeader(http.StatusOK)
					w.(http.Flusher).Flush()
					hang(w, r)
				}
			}, sum: sum, requests: 4, err: "no data for 200ms",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tc.serve(int(requests.Add(1)))(w, r)
			}))
			t.Cleanup(server.Close)
			dir := t.TempDir()
			file, err := impatient().fetch(t.Context(), archive{URL: server.URL + "/a.tar.gz", SHA256: tc.sum}, dir)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if got := requests.Load(); got != tc.requests {
				t.Errorf("%d requests, want %d", got, tc.requests)
			}
			if tc.err != "" {
				return
			}
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
				t.Errorf("the file has %d bytes, want %d: %v", len(got), len(data), err)
			}
		})
	}
}

// TestFetchAfterABadLeftover: what an earlier run left is resumed, and downloaded anew if that gives a wrong checksum.
func TestFetchAfterABadLeftover(t *testing.T) {
	data, sum := release(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.tar.gz", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.tar.gz.part"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := impatient().fetch(t.Context(), archive{URL: server.URL + "/a.tar.gz", SHA256: sum}, dir); err != nil {
		t.Fatal(err)
	}
}

// cut announces a whole file, sends half of it and ends the connection.
func cut(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(max(len(data), 10)))
		_, _ = w.Write(data[:len(data)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// hang answers when the client has given up.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestFetchThroughProxy: the proxy of the environment is used, as by curl.
func TestFetchThroughProxy(t *testing.T) {
	data, sum := release(t)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "releases.example" {
			http.Error(w, "not proxied: "+r.URL.String(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	if _, err := impatient().fetch(t.Context(), archive{URL: "http://releases.example/a.tar.gz", SHA256: sum}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

// TestFetchWithoutNetwork: the error names the URL and what the network said.
func TestFetchWithoutNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from := "http://" + listener.Addr().String() + "/a.tar.gz"
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = impatient().fetch(t.Context(), archive{URL: from, SHA256: "0"}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), from) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
}

func TestExtract(t *testing.T) {
	data, _ := release(t)
	file := filepath.Join(t.TempDir(), "a.tar.gz")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := archive{URL: "https://releases.example/a.tar.gz", Programs: map[string]string{"tool": "./bin/tool"}}
	if err := a.extract(file, dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the folder holds %v, want the program alone: %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, want an executable: %v", info.Mode(), err)
	}

	a.Programs["other"] = "bin/other"
	if err := a.extract(file, t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no bin/other") {
		t.Errorf("error %v, want one that names what is missing", err)
	}
	if err := os.WriteFile(file, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.extract(file, t.TempDir()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v of a file that was cut", err)
	}
}
