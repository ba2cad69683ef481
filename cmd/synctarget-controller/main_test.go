package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// TestKlogGoesIntoTheLog: client-go logs by klog, in another format and past --zap-log-level.
func TestKlogGoesIntoTheLog(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	// A file, since what other tests start goes on logging.
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	o := newOptions()
	o.zap.DestWriter = file
	setLogger(o)
	klog.ErrorS(errors.New("no such host"), "Failed to watch", "type", "SyncTarget")
	klog.V(1).InfoS("A detail")
	klog.Flush()
	content, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	log := string(content)
	if !strings.HasPrefix(log, "{") || !strings.Contains(log, `"msg":"Failed to watch","type":"SyncTarget","error":"no such host"`) {
		t.Errorf("the log has %q", log)
	}
	if strings.Contains(log, "A detail") {
		t.Errorf("klog's details are in the log: %q", log)
	}
}
