package framework

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	pollInterval = 200 * time.Millisecond
	// settleTimeout is how long a living process may look unhealthy before it is restarted: a busy machine is no reason.
	settleTimeout = 20 * time.Second
)

// awaitReady waits for a process that has just been started; it gives up as soon as the process ends.
func (e *Environment) awaitReady(ctx context.Context, r record) error {
	timeout := r.Process.ReadyTimeout
	if timeout == 0 {
		timeout = DefaultReadyTimeout
	}
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		if !r.Identity.alive() {
			return false, errors.New("it ended")
		}
		last = probe(ctx, r.Process.Ready)
		return last == nil, nil
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s is not ready: %w\nend of %s:\n%s",
		r.Process.Name, errors.Join(err, last), e.LogPath(r.Process.Name), tail(e.LogPath(r.Process.Name), 20))
}

// settles says whether a living process is healthy, now or soon.
func (e *Environment) settles(ctx context.Context, r record) bool {
	return wait.PollUntilContextTimeout(ctx, pollInterval, settleTimeout, true, func(ctx context.Context) (bool, error) {
		if !r.Identity.alive() {
			return false, errors.New("it ended")
		}
		return probe(ctx, r.Process.Ready) == nil, nil
	}) == nil
}

// probe checks Process.Ready once.
func probe(ctx context.Context, target string) error {
	if target == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if path, ok := strings.CutPrefix(target, "unix://"); ok {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{
		// Only "does it answer" is asked here, without credentials; who it is, is for the kubeconfigs' CA to say.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("GET %s: %s: %s", target, resp.Status, body)
	}
	return nil
}

func awaitEnd(id identity, timeout time.Duration) (ended bool) {
	return wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, timeout, true,
		func(context.Context) (bool, error) { return !id.alive(), nil }) == nil
}

// tail is the last lines of a log, for error messages.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
