package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// TestKlogGoesIntoTheLog: client-go logs by klog, in another format and past --zap-log-level.
func TestKlogGoesIntoTheLog(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var log bytes.Buffer
	o := newOptions()
	o.zap.DestWriter = &log
	setLogger(o)
	klog.ErrorS(errors.New("no such host"), "Failed to watch", "type", "SyncTarget")
	klog.V(1).InfoS("A detail")
	klog.Flush()
	if got := log.String(); !strings.HasPrefix(got, "{") || !strings.Contains(got, `"msg":"Failed to watch","type":"SyncTarget","error":"no such host"`) {
		t.Errorf("the log has %q", got)
	}
	if strings.Contains(log.String(), "A detail") {
		t.Errorf("klog's details are in the log: %q", log.String())
	}
}
