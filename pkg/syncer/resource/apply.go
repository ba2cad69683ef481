package resource

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// apply writes the copy. A refusal is a Report; an error is for what another attempt may change.
func (o *pass) apply(ctx context.Context, desired *unstructured.Unstructured, report Report) (Report, error) {
	force := o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver] == "true"
	log.FromContext(ctx).V(1).Info("Applying", "object", o.String())
	if o.dst != nil {
		desired.SetUID(o.dst.GetUID()) // should it be replaced meanwhile, the server refuses
	}
	write := func(desired *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		started := o.clock.Now()
		applied, err := o.lane.down.client.Apply(ctx, o.name, desired, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, Force: force})
		o.metrics.applied(o.lane.resource.GroupResource, o.clock.Since(started), err)
		return applied, err
	}
	applied, err := write(desired)
	scaled := isScaled(err)
	if scaled {
		rest := desired.DeepCopy()
		unstructured.RemoveNestedField(rest.Object, "spec", "replicas")
		applied, err = write(rest)
	}
	if err != nil {
		if refused, ok := refusal(err); ok {
			refused.Time, refused.Generation = report.Time, 0
			return refused, nil
		}
		return report, fmt.Errorf("applying %s in the physical cluster: %w", o, err)
	}
	unchanged := o.dst != nil && o.dst.GetResourceVersion() == applied.GetResourceVersion()
	o.dst = applied
	if unchanged || scaled {
		o.settle(desired)
	}
	if !unchanged {
		o.lane.down.objects.put(o.place.counterpart+"/"+o.name, applied, true)
		report.Time = o.clock.Now().UTC().Format(time.RFC3339)
		o.metrics.carried(o.lane.resource.GroupResource, o.clock, o.changed)
	}
	return report, nil
}

// settle remembers that an apply has changed nothing, though the copy seemed not to say what it should: the server knows
// better, and is not asked again until one of the two changes.
func (o *pass) settle(desired *unstructured.Unstructured) {
	o.settlements.Store(o.id(), o.settlement(desired))
}

func (o *pass) settled(desired *unstructured.Unstructured) bool {
	known, ok := o.settlements.Load(o.id())
	return ok && known == o.settlement(desired)
}

func (o *pass) settlement(desired *unstructured.Unstructured) string {
	content := map[string]any{}
	for field, value := range o.dst.Object {
		if field != "status" && field != "metadata" {
			content[field] = value
		}
	}
	force := o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver]
	hash, err := hashOf([]any{desired.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash], force, content, o.dst.GetLabels(), o.dst.GetAnnotations()})
	if err != nil {
		return ""
	}
	return hash
}
