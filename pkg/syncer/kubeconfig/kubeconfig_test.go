package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const usable = `apiVersion: v1
kind: Config
clusters: [{name: kcp, cluster: {server: "https://kcp.example.com/clusters/abc"}}]
users: [{name: syncer, user: {tokenFile: token}}]
contexts: [{name: kcp, context: {cluster: kcp, user: syncer}}]
current-context: kcp
`

func TestLoad(t *testing.T) {
	// Were anything to fall back to the cluster that the process runs in, this is where it would lead.
	t.Setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")

	cases := map[string]struct {
		reason string
		files  map[string]string
		host   string
		err    string
	}{
		"Usable": {
			reason: "The current context is used, and files are found beside the kubeconfig.",
			files:  map[string]string{"kubeconfig": usable, "token": "t-1"},
			host:   "https://kcp.example.com/clusters/abc",
		},
		"Missing": {
			reason: "A file that is missing is named.",
			err:    "no such file",
		},
		"Empty": {
			reason: "An empty file leads nowhere, least of all to the own cluster.",
			files:  map[string]string{"kubeconfig": ""},
			err:    "using kubeconfig",
		},
		"NoCurrentContext": {
			reason: "Nothing is guessed.",
			files:  map[string]string{"kubeconfig": strings.Replace(usable, "current-context: kcp\n", "", 1), "token": "t-1"},
			err:    "using kubeconfig",
		},
		"NoSuchContext": {
			reason: "Nothing is guessed.",
			files:  map[string]string{"kubeconfig": strings.Replace(usable, "current-context: kcp", "current-context: other", 1), "token": "t-1"},
			err:    "using kubeconfig",
		},
		"NotYAML": {
			reason: "What cannot be parsed is an error.",
			files:  map[string]string{"kubeconfig": "{"},
			err:    "reading kubeconfig",
		},
		"NoTokenFile": {
			reason: "A token file that is missing is found out at once.",
			files:  map[string]string{"kubeconfig": usable},
			err:    "using kubeconfig",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			config, err := Load(filepath.Join(dir, "kubeconfig"))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("\n%s\nwant an error with %q, got %v", tc.reason, tc.err, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("\n%s\n%v", tc.reason, err)
			}
			if config.Host != tc.host || config.BearerTokenFile != filepath.Join(dir, "token") {
				t.Errorf("\n%s\nwant host %q and the token file in %q, got %q and %q", tc.reason, tc.host, dir, config.Host, config.BearerTokenFile)
			}
		})
	}
}
