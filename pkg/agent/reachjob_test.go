package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestReachJob(t *testing.T) {
	c := testConfig()
	variants()["overrides"](&c)
	variants()["proxy"](&c)
	var out bytes.Buffer
	if err := printYAML(&out, []client.Object{ReachJob(c, "default"), SyncerPod(c, "default")}); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Bytes(), c.Token) {
		t.Error("it holds the syncer's token")
	}
	path := filepath.Join("testdata", "reachjob.yaml")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
