package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"syscall"
	"time"
)

// DefaultReadyTimeout is generous because a cold start of everything on two cores is slow.
const DefaultReadyTimeout = 3 * time.Minute

// Process is a program that outlives the command that starts it. It is data only, so that it can be written down and
// started again by another command.
type Process struct {
	// Name is unique in the environment; it names the log and the record.
	Name string `json:"name"`
	// Binary is the absolute path of the program.
	Binary string   `json:"binary"`
	Args   []string `json:"args,omitempty"`
	// Env is added to the environment of the caller, KEY=value each.
	Env []string `json:"env,omitempty"`
	// Dir is the working directory; empty: the state directory.
	Dir string `json:"dir,omitempty"`
	// Netns is the file of the network namespace to run in; empty: the host's.
	Netns string `json:"netns,omitempty"`
	// Ready is where readiness shows: an http(s) URL that answers 200, or unix://<path> that accepts a connection.
	// Certificates are not verified and no credentials are sent. Empty: ready once started.
	Ready string `json:"ready,omitempty"`
	// ReadyTimeout is how long Start waits; zero: DefaultReadyTimeout.
	ReadyTimeout time.Duration `json:"readyTimeout,omitempty"`
	// StopTimeout is how long Stop waits between SIGTERM and SIGKILL; zero: 10 s.
	StopTimeout time.Duration `json:"stopTimeout,omitempty"`
}

// record is what run/<name>.json holds.
type record struct {
	Process  Process   `json:"process"`
	Identity identity  `json:"identity"`
	Started  time.Time `json:"started"`
}

// Start starts a process and waits until it is ready. If it runs already, just so and healthy, it is left alone; if it
// runs otherwise or does not get healthy, it is stopped first. started says which it was.
func (e *Environment) Start(ctx context.Context, p Process) (started bool, err error) {
	if r, err := e.readRecord(p.Name); err == nil && r.Identity.alive() {
		if reflect.DeepEqual(r.Process, normalised(p)) && e.settles(ctx, r) {
			return false, nil
		}
		if err := e.Stop(p.Name); err != nil {
			return false, err
		}
	}
	r, err := e.spawn(normalised(p))
	if err != nil {
		return false, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	return true, e.awaitReady(ctx, r)
}

// Restart starts a process again the way it was started last, for instance after Kill.
func (e *Environment) Restart(ctx context.Context, name string) error {
	r, err := e.readRecord(name)
	if err != nil {
		return fmt.Errorf("process %q was never started: %w", name, err)
	}
	if err := e.Stop(name); err != nil {
		return err
	}
	_, err = e.Start(ctx, r.Process)
	return err
}

// Stop ends a process with SIGTERM, or SIGKILL if it lingers, and what is left of its process group. A process that
// does not run is no error.
func (e *Environment) Stop(name string) error {
	r, err := e.readRecord(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	timeout := r.Process.StopTimeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	return e.stop(r, timeout)
}

func (e *Environment) stop(r record, timeout time.Duration) error {
	if !r.Identity.alive() {
		return nil
	}
	// A paused process would never see the SIGTERM.
	if err := errors.Join(r.Identity.signal(syscall.SIGTERM), r.Identity.signal(syscall.SIGCONT)); err != nil {
		return err
	}
	if awaitEnd(r.Identity, timeout) {
		// Children that stayed behind keep the group, and with it its number, alive.
		_ = syscall.Kill(-r.Identity.PID, syscall.SIGKILL)
		return nil
	}
	return e.Kill(r.Process.Name)
}

// Kill ends a process and its process group with SIGKILL and waits until it is gone.
func (e *Environment) Kill(name string) error {
	r, err := e.readRecord(name)
	if err != nil {
		return fmt.Errorf("process %q was never started: %w", name, err)
	}
	if !r.Identity.alive() {
		return nil
	}
	if err := syscall.Kill(-r.Identity.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("killing %s: %w", name, err)
	}
	if !awaitEnd(r.Identity, 30*time.Second) {
		return fmt.Errorf("%s (pid %d) survives SIGKILL", name, r.Identity.PID)
	}
	return nil
}

// Alive says whether the process that was started under this name still runs, ready or not.
func (e *Environment) Alive(name string) bool {
	r, err := e.readRecord(name)
	return err == nil && r.Identity.alive()
}

// PID of a living process, 0 if it does not run.
func (e *Environment) PID(name string) int {
	if r, err := e.readRecord(name); err == nil && r.Identity.alive() {
		return r.Identity.PID
	}
	return 0
}

// spawn starts p in a session of its own, so that neither the end of this command nor ^C at its terminal reaches it.
func (e *Environment) spawn(p Process) (record, error) {
	log, err := e.openLog(p.Name)
	if err != nil {
		return record{}, err
	}
	defer log.Close()
	fmt.Fprintf(log, "=== %s %s %s\n", time.Now().Format(time.RFC3339), p.Binary, strings.Join(p.Args, " "))

	argv := append([]string{p.Binary}, p.Args...)
	if p.Netns != "" {
		// nsenter replaces itself by the program, so the pid is the program's.
		argv = append([]string{"nsenter", "--net=" + p.Netns, "--"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = p.Dir
	if cmd.Dir == "" {
		cmd.Dir = e.Dir
	}
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return record{}, err
	}
	// While this command lives it is the parent and has to reap; afterwards init does.
	go func() { _ = cmd.Wait() }()

	id, err := identify(cmd.Process.Pid)
	if err != nil {
		return record{}, fmt.Errorf("it ended at once; end of %s:\n%s", e.LogPath(p.Name), tail(e.LogPath(p.Name), 20))
	}
	r := record{Process: p, Identity: id, Started: time.Now()}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return record{}, err
	}
	return r, writeFile(e.recordPath(p.Name), data, 0o600)
}

func (e *Environment) openLog(process string) (*os.File, error) {
	if err := os.MkdirAll(e.path("log"), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(e.LogPath(process), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

func (e *Environment) recordPath(process string) string { return e.path("run", process+".json") }

func (e *Environment) readRecord(process string) (record, error) {
	var r record
	data, err := os.ReadFile(e.recordPath(process))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

// records are all processes started since the last Down, the first started first.
func (e *Environment) records() ([]record, error) {
	files, err := filepath.Glob(e.recordPath("*"))
	if err != nil {
		return nil, err
	}
	var all []record
	for _, f := range files {
		r, err := e.readRecord(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f, err)
		}
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Started.Before(all[j].Started) })
	return all, nil
}

// normalised makes a Process comparable with one that has been through JSON.
func normalised(p Process) Process {
	if len(p.Args) == 0 {
		p.Args = nil
	}
	if len(p.Env) == 0 {
		p.Env = nil
	}
	return p
}
