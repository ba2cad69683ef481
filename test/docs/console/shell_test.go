package console

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

const testTimeout = time.Minute

func TestShellRun(t *testing.T) {
	tests := map[string]struct {
		reason   string
		commands []string
		want     Result // of the last command
	}{
		"Output":     {commands: []string{"echo out; echo err >&2; echo end"}, want: Result{Output: "out\nerr\nend\n"}},
		"NoEnd":      {reason: "the last line may lack its end", commands: []string{"printf x"}, want: Result{Output: "x"}},
		"Status":     {commands: []string{"(exit 3)"}, want: Result{Status: 3}},
		"Variables":  {commands: []string{"a=1", "export b=2", `echo $a; bash -c 'echo $b'`}, want: Result{Output: "1\n2\n"}},
		"Directory":  {commands: []string{"cd /", "pwd"}, want: Result{Output: "/\n"}},
		"Aliases":    {commands: []string{"alias say='echo said'", "say it"}, want: Result{Output: "said it\n"}},
		"Heredoc":    {commands: []string{"cat <<EOF\na: $((1+1))\n  b: 'c'\nEOF"}, want: Result{Output: "a: 2\n  b: 'c'\n"}},
		"Continued":  {commands: []string{"echo a \\\n    b"}, want: Result{Output: "a b\n"}},
		"Stdin":      {reason: "a command must not read the commands after it", commands: []string{"cat", "echo next"}, want: Result{Output: "next\n"}},
		"SyntaxFree": {reason: "the shell goes on after a syntax error", commands: []string{"if (", "echo next"}, want: Result{Output: "next\n"}},
		"Background": {reason: "a command ends although it left something running", commands: []string{"sleep 600 & echo started"}, want: Result{Output: "started\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			shell := startShell(t)
			var got Result
			for _, text := range tt.commands {
				var err error
				if got, err = shell.Run(text, testTimeout); err != nil {
					t.Fatalf("Run(%q): %v", text, err)
				}
			}
			if got != tt.want {
				t.Errorf("%s\ngot %+v, want %+v", tt.reason, got, tt.want)
			}
		})
	}
}

func TestShellRunTimeout(t *testing.T) {
	shell := startShell(t)
	if _, err := shell.Run("true", testTimeout); err != nil { // it has started
		t.Fatal(err)
	}
	got, err := shell.Run("echo before; sleep 600", 5*time.Second)
	if !errors.Is(err, errTimeout) || got.Output != "before\n" {
		t.Errorf("Run() = %+v, %v, want the output so far and %v", got, err, errTimeout)
	}
}

func TestShellRunExit(t *testing.T) {
	shell := startShell(t)
	got, err := shell.Run("echo bye; exit 1", testTimeout)
	if !errors.Is(err, errShellEnded) || got.Output != "bye\n" {
		t.Errorf("Run() = %+v, %v, want the output and %v", got, err, errShellEnded)
	}
}

func TestShellClose(t *testing.T) {
	shell, err := StartShell(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got, err := shell.Run("sleep 600 & echo $!", testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(shell.files); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", shell.files, err)
	}
	if state := waitUntilGone(strings.TrimSpace(got.Output)); state != "" {
		t.Errorf("the command in the background still runs:\n%s", state)
	}
}

// waitUntilGone returns the state of a process that still runs after ten seconds. One that has ended, and whose parent
// has not yet asked for its status, is gone, too.
func waitUntilGone(pid string) string {
	var state string
	for range 100 {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if state = string(data); err != nil || strings.Contains(state, ") Z ") {
			return ""
		}
		time.Sleep(100 * time.Millisecond)
	}
	return state
}

func startShell(t *testing.T) *Shell {
	t.Helper()
	shell, err := StartShell(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shell.Close(); err != nil {
			t.Error(err)
		}
	})
	return shell
}
