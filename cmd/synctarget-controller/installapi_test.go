package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallAPIArguments(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string // a part of the error, or nothing
	}{
		"help":              {[]string{"--help"}, ""},
		"no kubeconfig":     {nil, "--kubeconfig is required"},
		"broken kubeconfig": {[]string{"--kubeconfig=" + broken}, "reading --kubeconfig"},
		"unknown flag":      {[]string{"--leader-elect"}, "unknown flag: --leader-elect"},
		"argument":          {[]string{"config/kcp", "--kubeconfig=" + broken}, `unexpected argument "config/kcp"`},
	} {
		var out bytes.Buffer
		err := installAPI(t.Context(), test.args, &out)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if test.want == "" && !strings.Contains(out.String(), "--kubeconfig string") {
			t.Errorf("%s: help is %q", name, out.String())
		}
	}
}

func TestRefuseArguments(t *testing.T) {
	if err := refuseArguments(nil); err != nil {
		t.Errorf("the controller takes no arguments: %v", err)
	}
	if err := refuseArguments([]string{"instal-api"}); err == nil || !strings.Contains(err.Error(), `"instal-api"; the only one is install-api`) {
		t.Errorf("a misspelled command: %v", err)
	}
}
