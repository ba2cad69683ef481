package plugin

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// fieldOwner owns the fields that the commands write.
const fieldOwner = "kubectl-synctarget"

// dryRun says whether changes are made.
type dryRun string

const (
	dryRunNone dryRun = "none"
	// dryRunClient sends no change.
	dryRunClient dryRun = "client"
	// dryRunServer sends the changes, and has the server only check them.
	dryRunServer dryRun = "server"
)

func parseDryRun(value string) (dryRun, error) {
	switch mode := dryRun(value); mode {
	case dryRunNone, dryRunClient, dryRunServer:
		return mode, nil
	}
	return "", usage(`give "none", "client" or "server"`, "invalid --dry-run %q", value)
}

// writer brings the objects of one side to what they should be, and reports what it has changed.
type writer struct {
	*connection
	progress *progress
	mode     dryRun
	// absent are Namespaces that a dry run has only pretended to create: nothing in them can be checked by the server.
	absent map[string]bool
	// written are all objects as they are now, or would be.
	written []client.Object
}

func (p *plugin) newWriter(c *connection, mode dryRun) *writer {
	return &writer{connection: c, progress: p.progress, mode: mode, absent: map[string]bool{}}
}

// ensure creates the object, or changes it where change, which is called on what is there, makes a difference. What else stands
// in the object stays.
func (w *writer) ensure(ctx context.Context, object client.Object, change func() error) error {
	err := w.Get(ctx, client.ObjectKeyFromObject(object), object)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading %s in %s: %w", w.describe(object), w.name, err)
	}
	before := object.DeepCopyObject().(client.Object)
	if changeErr := change(); changeErr != nil {
		return changeErr
	}
	if apierrors.IsNotFound(err) {
		return w.create(ctx, object)
	}
	patch := client.MergeFrom(before)
	data, err := patch.Data(object)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", w.describe(object), err)
	}
	if string(data) == "{}" {
		return w.report(object, "unchanged")
	}
	if w.mode != dryRunClient {
		if err := w.Patch(ctx, object, patch, w.patchOptions()...); err != nil {
			return fmt.Errorf("changing %s in %s: %w", w.describe(object), w.name, err)
		}
	}
	return w.report(object, "changed"+shown(object, data))
}

// shown is the patch of an object that holds no secret.
func shown(object client.Object, patch []byte) string {
	if _, ok := object.(*corev1.Secret); ok {
		return ""
	}
	return ": " + string(patch)
}

func (w *writer) create(ctx context.Context, object client.Object) error {
	if _, ok := object.(*corev1.Namespace); ok && w.mode != dryRunNone {
		w.absent[object.GetName()] = true
	}
	if w.mode == dryRunClient || (w.mode == dryRunServer && w.absent[object.GetNamespace()]) {
		return w.report(object, "created")
	}
	err := w.Create(ctx, object, w.createOptions()...)
	if w.mode == dryRunServer && isAPIAbsent(err) {
		err = nil // the binding that would serve it has only been checked, too
	}
	if err != nil {
		return fmt.Errorf("creating %s in %s: %w", w.describe(object), w.name, err)
	}
	return w.report(object, "created")
}

func (w *writer) createOptions() []client.CreateOption {
	options := []client.CreateOption{client.FieldOwner(fieldOwner)}
	if w.mode == dryRunServer {
		options = append(options, client.DryRunAll)
	}
	return options
}

func (w *writer) patchOptions() []client.PatchOption {
	options := []client.PatchOption{client.FieldOwner(fieldOwner)}
	if w.mode == dryRunServer {
		options = append(options, client.DryRunAll)
	}
	return options
}

func (w *writer) report(object client.Object, what string) error {
	suffix := ""
	if w.mode != dryRunNone {
		suffix = fmt.Sprintf(" (%s dry run)", w.mode)
	}
	w.progress.say("%s: %s %s%s", w.name, w.describe(object), what, suffix)
	w.written = append(w.written, object)
	return nil
}

// describe names an object: SyncTarget "edge-1".
func (w *writer) describe(object client.Object) string {
	return fmt.Sprintf("%s %q", w.kind(object), strings.TrimPrefix(client.ObjectKeyFromObject(object).String(), "/"))
}

// kind is the kind of a typed object.
func (c *connection) kind(object client.Object) string {
	gvk, err := apiutil.GVKForObject(object, c.Scheme())
	if err != nil {
		panic(err) // the scheme holds every type that is written
	}
	return gvk.Kind
}

// printable are the written objects with their types, without what the server keeps for itself and without the contents of Secrets.
func (w *writer) printable() ([]runtime.Object, error) {
	var out []runtime.Object
	for _, object := range w.written {
		gvk, err := apiutil.GVKForObject(object, w.Scheme())
		if err != nil {
			return nil, err
		}
		shown := object.DeepCopyObject().(client.Object)
		shown.GetObjectKind().SetGroupVersionKind(gvk)
		shown.SetManagedFields(nil)
		if secret, ok := shown.(*corev1.Secret); ok {
			secret.StringData = map[string]string{}
			for key := range secret.Data {
				secret.StringData[key] = "REDACTED"
			}
			secret.Data = nil
			delete(secret.Annotations, corev1.LastAppliedConfigAnnotation) // it repeats the data
		}
		out = append(out, shown)
	}
	return out, nil
}

// setLabel sets a label of an object.
func setLabel(object metav1.Object, name, value string) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[name] = value
	object.SetLabels(labels)
}
