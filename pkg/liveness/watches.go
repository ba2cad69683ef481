// Package liveness finds out that a process must be restarted.
package liveness

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// WatchGrace is how much longer a watch may last than its client has asked for.
const WatchGrace = 5 * time.Minute

// Watches is the liveness check of a process's watches. An API server ends each watch after the time that the client has asked
// for (timeoutSeconds), and an informer then starts the next one. A watch that is still open long after that has an end that
// nobody sees, be it that a proxy holds the connection or that nothing reads from it: its informer shows an ever older state
// without an error. A new process starts new watches.
//
// A server that refuses a watch or does not answer is no reason to restart, and never fails the check.
type Watches struct {
	clock clock.PassiveClock

	mu   sync.Mutex
	open map[*watch]struct{}
}

// watch is the body of a watch's response.
type watch struct {
	io.ReadCloser
	watches *Watches
	// path is the path of the request, and overdueAt is when the watch should have ended at the latest.
	path      string
	overdueAt time.Time
}

// NewWatches returns a check that has seen no watch yet.
func NewWatches(c clock.PassiveClock) *Watches {
	return &Watches{clock: c, open: map[*watch]struct{}{}}
}

// Wrap has the check follow the watches that are started through a transport; see rest.Config.Wrap.
func (w *Watches) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		timeout, bounded := watchTimeout(request)
		if err != nil || !bounded || response.StatusCode != http.StatusOK {
			return response, err
		}
		body := &watch{ReadCloser: response.Body, watches: w, path: request.URL.Path, overdueAt: w.clock.Now().Add(timeout + WatchGrace)}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open[body] = struct{}{}
		response.Body = body
		return response, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// watchTimeout returns how long a watch was asked to last; false for other requests, and for a watch without a limit.
func watchTimeout(request *http.Request) (time.Duration, bool) {
	query := request.URL.Query()
	if isWatch, err := strconv.ParseBool(query.Get("watch")); err != nil || !isWatch {
		return 0, false
	}
	seconds, err := strconv.Atoi(query.Get("timeoutSeconds"))
	return time.Duration(seconds) * time.Second, err == nil && seconds > 0
}

// Check fails while a watch lasts too long. It implements healthz.Checker.
func (w *Watches) Check(*http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for body := range w.open {
		if overdue := w.clock.Since(body.overdueAt); overdue > 0 {
			errs = append(errs, fmt.Errorf("the watch %s should have ended %s ago", body.path, (overdue+WatchGrace).Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// Read notes the end of the watch.
func (b *watch) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.watches.ended(b)
	}
	return n, err
}

// Close notes the end of the watch.
func (b *watch) Close() error {
	b.watches.ended(b)
	return b.ReadCloser.Close()
}

func (w *Watches) ended(b *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, b)
}
