package console

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errTimeout: the command was ended because it took too long.
var errTimeout = errors.New("the command did not end in time")

// errShellEnded: the command ended the shell, for example by exit.
var errShellEnded = errors.New("the command ended the shell")

// Result is what a command left.
type Result struct {
	// Output has stdout and stderr in the order of writing.
	Output string
	// Status is the exit status.
	Status int
}

// Shell is a bash that runs commands one after the other: variables, aliases and the working directory persist.
//
// Each command is a file that bash reads, so that it can have several lines and its own quoting. Its output goes to
// another file and its exit status to a pipe: nothing that a command prints is mistaken for its end.
type Shell struct {
	bash *exec.Cmd
	// script is the stdin of bash; commands themselves read /dev/null.
	script io.WriteCloser
	// pipe is where bash writes the status of each command.
	pipe   *os.File
	status *bufio.Reader
	// files is a folder with the texts and outputs of the commands.
	files string
	count int
}

// StartShell starts bash in the folder. It has the environment of this process.
func StartShell(dir string) (*Shell, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	files, err := os.MkdirTemp("", "console-")
	if err != nil {
		return nil, errors.Join(err, read.Close())
	}
	bash := exec.Command("bash", "--noprofile", "--norc", "-O", "expand_aliases")
	bash.Dir = dir
	bash.ExtraFiles = []*os.File{write} // file descriptor 3
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	script, err := bash.StdinPipe()
	if err == nil {
		err = bash.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting bash: %w", err), read.Close(), os.RemoveAll(files))
	}
	return &Shell{bash: bash, script: script, pipe: read, status: bufio.NewReader(read), files: files}, nil
}

// Run runs a command and waits until it ends. After an error the shell can only be closed; the result then has what was
// printed so far.
func (s *Shell) Run(text string, timeout time.Duration) (Result, error) {
	s.count++
	command := filepath.Join(s.files, fmt.Sprintf("command-%d", s.count))
	output := filepath.Join(s.files, fmt.Sprintf("output-%d", s.count))
	if err := os.WriteFile(command, []byte(text+"\n"), 0o600); err != nil {
		return Result{}, err
	}
	// The command has no descriptor 3: what it leaves in the background must not keep the pipe open.
	line := fmt.Sprintf(". '%s' </dev/null >'%s' 2>&1 3>&-; echo $? >&3\n", command, output)
	if _, err := io.WriteString(s.script, line); err != nil {
		return Result{}, fmt.Errorf("%w: %w", errShellEnded, err)
	}
	status, statusErr := s.waitForStatus(timeout)
	printed, err := os.ReadFile(output)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return Result{Output: string(printed), Status: status}, errors.Join(statusErr, err)
}

func (s *Shell) waitForStatus(timeout time.Duration) (int, error) {
	if err := s.pipe.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	line, err := s.status.ReadString('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, fmt.Errorf("%w: it took longer than %s", errTimeout, timeout)
	case errors.Is(err, io.EOF):
		return 0, errShellEnded
	case err != nil:
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// Close ends bash and what its commands left in the background.
func (s *Shell) Close() error {
	// Before Wait, as long as the ID cannot belong to anybody else's processes.
	err := syscall.Kill(-s.bash.Process.Pid, syscall.SIGKILL)
	_ = s.bash.Wait() // it has been killed
	return errors.Join(err, s.pipe.Close(), os.RemoveAll(s.files))
}
