package framework

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

func TestPIDWith(t *testing.T) {
	argument := fmt.Sprintf("--of=%s", t.TempDir())
	if pid, err := PIDWith(argument); err == nil {
		t.Errorf("want no process, got %d", pid)
	}
	process := exec.Command("sh", "-c", "read line", "sh", argument)
	input, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	const unit = 20 * time.Millisecond // of the two times that are subtracted
	if at, err := StartOf(process.Process.Pid); err != nil || at.Before(before.Add(-unit)) || at.After(time.Now().Add(unit)) {
		t.Errorf("want a start after %s, got %s, %v", before, at, err)
	}
	if pid, err := PIDWith(argument); err != nil || pid != process.Process.Pid {
		t.Errorf("want %d, got %d, %v", process.Process.Pid, pid, err)
	}
	_ = input.Close()
	_ = process.Wait()
}
