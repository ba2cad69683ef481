package agent

import (
	"bytes"
	"fmt"
	"io"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Render prints what the user applies in pull mode: kubectl apply --server-side -f -. It is the syncer, and the counterpart of
// each Namespace that is open by the status of the Config's Target. The same Config gives the same bytes.
func Render(w io.Writer, c Config) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The syncer of SyncTarget %q in workspace %q, for the physical cluster:\n", c.Target.Name, c.ClusterName)
	fmt.Fprint(&out, "#   kubectl apply --server-side -f -\n# It holds a credential, the Secret's token: keep it as you keep a password.\n")
	objects := Downstream(c)
	for _, n := range c.Target.Status.Namespaces {
		if n.State == workloadv1alpha1.NamespaceOpening || n.State == workloadv1alpha1.NamespaceOpen {
			objects = append(objects, Counterpart(c, n.Name)...)
		}
	}
	if err := printYAML(&out, objects); err != nil {
		return err
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("writing the manifests: %w", err)
	}
	return nil
}

func printYAML(out *bytes.Buffer, objects []client.Object) error {
	for _, object := range objects {
		manifest, err := toMap(object)
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(manifest)
		if err != nil {
			return fmt.Errorf("printing %s: %w", describe(object), err)
		}
		fmt.Fprintf(out, "---\n%s", text)
	}
	return nil
}
