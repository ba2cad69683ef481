//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// runAs is set in the environment of a test binary that is to be the command itself, or the leader of its session.
	runAs           = "SYNCTARGET_TEST_RUN_AS"
	command, leader = "command", "leader"
	// patience is far longer than a command takes. One that takes longer is killed, and its test fails.
	patience = time.Minute
	ctrlC    = "\x03"
	escape   = "\x1b"
	// question ends what join asks, and waiting begins what it waits for then.
	question = "Continue? [y/N] "
	waiting  = "Waiting for APIBinding"
	// These show and hide the cursor, and begin colored text.
	showCursor, hideCursor, white = escape + "[?25h", escape + "[?25l", escape + "[37m"
	spinnerFrames                 = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
)

func TestMain(m *testing.M) {
	switch os.Getenv(runAs) {
	case command:
		main()
	case leader:
		lead()
	}
	os.Exit(m.Run())
}

// lead runs the command, prints its exit code on the terminal, and waits to be killed. When the leader of a session ends, the kernel
// drops what the terminal has not delivered yet, so the command itself must not be the leader.
func lead() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // Ctrl-C is for the command
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), runAs+"="+command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = cmd.Run() // its exit code is printed
	fmt.Printf("exit code %d\n", cmd.ProcessState.ExitCode())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// exitCode is what the leader prints at the end.
var exitCode = regexp.MustCompile(`exit code (-?\d+)\r\n`)

// workspace is a server of a workspace, and below /edge one of a physical cluster. It keeps what it is sent, and never binds an
// APIBinding.
type workspace struct {
	mu      sync.Mutex
	objects map[string]any
	created []string
}

// The path of the workspace, and those of the collections that it serves.
const (
	root     = "/clusters/root:team"
	bindings = root + "/apis/apis.kcp.io/v1alpha2/apibindings"
	targets  = root + "/apis/workload.kcp.io/v1alpha1/synctargets"
)

func (s *workspace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, status := s.objects[r.URL.Path], http.StatusOK
	switch {
	case r.Method == http.MethodPost:
		var object map[string]any
		if err := json.NewDecoder(r.Body).Decode(&object); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		metadata := object["metadata"].(map[string]any)
		metadata["uid"] = "uid"
		path := fmt.Sprintf("%s/%s", r.URL.Path, metadata["name"])
		s.objects[path], s.created = object, append(s.created, path)
		answer, status = object, http.StatusCreated
	case r.URL.Path == bindings:
		answer = map[string]any{"kind": "APIBindingList", "apiVersion": "apis.kcp.io/v1alpha2", "items": []any{}}
	case answer == nil:
		status = http.StatusNotFound
		answer = metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: int32(status),
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// made are the paths of what was created.
func (s *workspace) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.created)
}

// session is a command on a terminal of its own.
type session struct {
	t   *testing.T
	cmd *exec.Cmd
	// terminal is the other end of the command's terminal.
	terminal *os.File
	server   *workspace
	// seen is all that was read from the terminal.
	seen bytes.Buffer
}

// start starts the command on a terminal. Where change sets a stream of the command, that one is not on the terminal.
func start(t *testing.T, change func(*exec.Cmd), args ...string) *session {
	t.Helper()
	s := &session{t: t, server: &workspace{objects: map[string]any{
		targets + "/edge-0":                   object("workload.kcp.io/v1alpha1", "SyncTarget", "edge-0"),
		"/edge/api/v1/namespaces/kube-system": object("v1", "Namespace", "kube-system"),
	}}}
	server := httptest.NewServer(s.server)
	t.Cleanup(server.Close)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s.cmd = exec.CommandContext(ctx, program, args...)
	s.cmd.Env = append(withoutNoColor(os.Environ()), runAs+"="+leader, "TERM=xterm", "KUBECONFIG="+writeKubeconfig(t, server.URL))
	change(s.cmd)
	if s.terminal, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 24, Cols: 400}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		_ = s.cmd.Wait() // it was killed
	})
	return s
}

func object(apiVersion, kind, name string) map[string]any {
	return map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "uid": "uid-of-" + name}}
}

func withoutNoColor(environment []string) []string {
	return slices.DeleteFunc(environment, func(variable string) bool { return strings.HasPrefix(variable, "NO_COLOR=") })
}

// writeKubeconfig has the contexts workspace, which is the current one, and edge, the physical cluster.
func writeKubeconfig(t *testing.T, server string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	for name, path := range map[string]string{"workspace": root, "edge": "/edge"} {
		config.Clusters[name] = &clientcmdapi.Cluster{Server: server + path}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name}
	}
	config.CurrentContext = "workspace"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// await reads from the terminal until the text has been shown.
func (s *session) await(text string) {
	s.t.Helper()
	awaitMatch(s.t, s.terminal, &s.seen, regexp.MustCompile(regexp.QuoteMeta(text)))
}

// awaitMatch reads into seen until that matches.
func awaitMatch(t *testing.T, from io.Reader, seen *bytes.Buffer, pattern *regexp.Regexp) {
	t.Helper()
	buffer := make([]byte, 4096)
	for !pattern.Match(seen.Bytes()) {
		n, err := from.Read(buffer)
		seen.Write(buffer[:n])
		if err != nil && !pattern.Match(seen.Bytes()) {
			t.Fatalf("%q was not shown until the end (%v):\n%q", pattern, err, seen)
		}
	}
}

// enter types on the terminal.
func (s *session) enter(keys string) {
	s.t.Helper()
	if _, err := s.terminal.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the end of the command, and returns all that was shown, without the echo of Ctrl-C, and the exit code.
func (s *session) end() (shown string, code int) {
	s.t.Helper()
	awaitMatch(s.t, s.terminal, &s.seen, exitCode)
	s.kill()
	at := exitCode.FindStringSubmatchIndex(s.seen.String())
	code, err := strconv.Atoi(s.seen.String()[at[2]:at[3]])
	if err != nil {
		s.t.Error(err)
	}
	return strings.ReplaceAll(s.seen.String()[:at[0]], "^C", ""), code
}

// kill ends the leader of the session, and with it the terminal.
func (s *session) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.terminal.Close()
}

func onTerminal(*exec.Cmd) {}

// joinArgs register a cluster whose APIBinding is never bound: so it asks, and then waits.
var joinArgs = []string{"join", "edge-1", "--pull", "--cell=region=eu"}

// wantInterrupted checks how a command ends that is interrupted.
func wantInterrupted(t *testing.T, shown string, code int) {
	t.Helper()
	if code != 1 || !strings.Contains(shown, "error: interrupted\r\nnext: run the same command again") {
		t.Errorf("exit code %d, shown:\n%q", code, shown)
	}
	if strings.LastIndex(shown, hideCursor) > strings.LastIndex(shown, showCursor) {
		t.Errorf("the cursor is left hidden:\n%q", shown)
	}
}

// wantPlain checks that nothing is shown that only a terminal understands.
func wantPlain(t *testing.T, shown string) {
	t.Helper()
	if strings.Contains(shown, escape) || strings.ContainsAny(shown, spinnerFrames) {
		t.Errorf("it is no plain text:\n%q", shown)
	}
}

func TestSpinner(t *testing.T) {
	s := start(t, onTerminal, joinArgs...)
	s.await(question)
	wantPlain(t, s.seen.String())
	s.enter("y\n")
	s.await(waiting)
	if got := s.server.made(); !slices.Equal(got, []string{bindings + "/workload.kcp.io"}) {
		t.Errorf("created after the answer: %q", got)
	}
	seen := s.seen.String()
	if !strings.Contains(seen, hideCursor) || !strings.Contains(seen, white) || !strings.ContainsAny(seen, spinnerFrames) {
		t.Errorf("no spinner in color:\n%q", seen)
	}
	s.enter(ctrlC)
	shown, code := s.end()
	wantInterrupted(t, shown, code)
}

// TestPlain: a command that waits shows no spinner and no color where nobody looks at it, or the user does not want it.
func TestPlain(t *testing.T) {
	yes := append(slices.Clone(joinArgs), "--yes")
	for name, tc := range map[string]struct {
		change func(*exec.Cmd)
		args   []string
	}{
		"NO_COLOR": {func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NO_COLOR=1") }, yes},
		"-o yaml":  {onTerminal, append(slices.Clone(yes), "--apply-to-context=edge", "-o=yaml")},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tc.change, tc.args...)
			s.await(waiting)
			s.enter(ctrlC)
			shown, code := s.end()
			wantPlain(t, shown)
			wantInterrupted(t, shown, code)
		})
	}
}

// TestStderrIsNoTerminal: the terminal of stdin and stdout does not count.
func TestStderrIsNoTerminal(t *testing.T) {
	var stderr io.ReadCloser
	s := start(t, func(cmd *exec.Cmd) {
		var err error
		if stderr, err = cmd.StderrPipe(); err != nil {
			t.Fatal(err)
		}
	}, append(slices.Clone(joinArgs), "--yes")...)
	var seen bytes.Buffer
	awaitMatch(t, stderr, &seen, regexp.MustCompile(waiting))
	s.enter(ctrlC)
	shown, code := s.end()
	if _, err := io.Copy(&seen, stderr); err != nil {
		t.Error(err)
	}
	wantPlain(t, shown+seen.String())
	if code != 1 || !strings.Contains(seen.String(), "error: interrupted\nnext: ") {
		t.Errorf("exit code %d, stderr:\n%q", code, &seen)
	}
}

// TestJSON: what a program reads is plain text on a terminal, too.
func TestJSON(t *testing.T) {
	shown, code := start(t, onTerminal, "status", "edge-0", "-o=json").end()
	wantPlain(t, shown)
	if code != 1 || !strings.Contains(shown, `"kind": "SyncTarget"`) {
		t.Errorf("exit code %d, shown:\n%q", code, shown)
	}
}

// TestQuestion: without a yes, nothing is changed.
func TestQuestion(t *testing.T) {
	for name, tc := range map[string]struct{ keys, want string }{
		"no":      {"n\n", "error: not confirmed, so nothing of this was changed\r\nnext: run the command again"},
		"default": {"\n", "error: not confirmed"},
		"Ctrl-C":  {ctrlC, question + "\r\nerror: interrupted\r\nnext: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, onTerminal, joinArgs...)
			s.await(question)
			s.enter(tc.keys)
			shown, code := s.end()
			if code != 1 || !strings.Contains(shown, tc.want) {
				t.Errorf("exit code %d, want %q:\n%q", code, tc.want, shown)
			}
			if got := s.server.made(); len(got) > 0 {
				t.Errorf("created: %q", got)
			}
		})
	}
}
