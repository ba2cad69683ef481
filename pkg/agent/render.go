package agent

import (
	"bytes"
	"fmt"
	"io"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Manifests returns what the user applies in pull mode, in the order to apply it: the syncer, and the downstream Namespace of each
// Namespace that is assigned to it.
func Manifests(c Config) []client.Object {
	objects := Downstream(c)
	for _, namespace := range c.Namespaces {
		objects = append(objects, DownstreamNamespace(c, namespace)...)
	}
	return objects
}

// Render prints what the user applies in pull mode: kubectl apply --server-side -f -. The same Config gives the
// same bytes.
func Render(w io.Writer, c Config) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The syncer of SyncTarget %q in workspace %q, for the physical cluster:\n", c.Target.Name, c.ClusterName)
	fmt.Fprint(&out, "#   kubectl apply --server-side -f -\n# It holds credentials, the syncer's token and pull secrets: keep it as you keep a password.\n")
	if err := printYAML(&out, Manifests(c)); err != nil {
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
