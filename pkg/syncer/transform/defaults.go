package transform

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// plainKinds are the kinds in which no API server derives one field from another.
var plainKinds = map[schema.GroupKind]bool{
	{Kind: "ConfigMap"}: true, {Kind: "Secret"}: true, {Kind: "ServiceAccount"}: true,
}

// HasDerivedFields tells whether a server may derive fields of an object from others, by a default that depends on them.
func HasDerivedFields(object *unstructured.Unstructured) bool {
	return !plainKinds[object.GroupVersionKind().GroupKind()]
}

// ForDryRun is desired under another name, to be created in a dry run beside the copy that there is, without the fields whose values
// belong to the copy alone.
func ForDryRun(desired *unstructured.Unstructured) *unstructured.Unstructured {
	other := desired.DeepCopy()
	other.SetName("dry-run-" + desired.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash][:8])
	if isHeadless(other) {
		return other // its address is no address
	}
	for _, field := range derivedFields[desired.GroupVersionKind().GroupKind()] {
		field.removeFrom(other.Object)
	}
	return other
}

func isHeadless(object *unstructured.Unstructured) bool {
	ip, _, _ := unstructured.NestedString(object.Object, "spec", "clusterIP")
	return object.GroupVersionKind().GroupKind() == serviceKind && ip == corev1.ClusterIPNone
}

// WithDefaults returns desired with the defaults that a server has added to a fresh copy of it: the fields that the answer to a dry-run
// create counts as set by the creator. What a webhook or a controller has added, or an allocator, is not among them.
func WithDefaults(desired, fresh *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	set, err := fieldsOfCreator(fresh)
	if err != nil {
		return nil, err
	}
	out := desired.DeepCopy()
	for field, have := range fresh.Object {
		if field == "metadata" || field == "status" {
			continue
		}
		element := fieldpath.PathElement{FieldName: &field}
		if kept, ok := keep(have, element, set); ok {
			out.Object[field] = merge(kept, out.Object[field])
		}
	}
	return out, nil
}

// fieldsOfCreator decodes the managedFields entry of the syncer.
func fieldsOfCreator(fresh *unstructured.Unstructured) (*fieldpath.Set, error) {
	for _, entry := range fresh.GetManagedFields() {
		if entry.Manager != workloadv1alpha1.FieldOwnerSyncer || entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("decoding the managedFields of a dry run: %w", err)
		}
		return set, nil
	}
	return nil, errors.New("the answer to a dry run says nothing of the fields that it has set")
}

// keep returns the part of a value, found at an element of a set, that the set names; ok is false where that is nothing.
func keep(have any, at fieldpath.PathElement, set *fieldpath.Set) (part any, ok bool) {
	below, hasBelow := set.Children.Get(at)
	if !hasBelow {
		return have, set.Members.Has(at)
	}
	switch have := have.(type) {
	case map[string]any:
		return keepFields(have, below), true
	case []any:
		return keepItems(have, below), true
	}
	return have, true
}

func keepFields(have map[string]any, set *fieldpath.Set) map[string]any {
	out := map[string]any{}
	for field, inner := range have {
		if part, ok := keep(inner, fieldpath.PathElement{FieldName: &field}, set); ok {
			out[field] = part
		}
	}
	return out
}

// keepItems keeps the items of an associative list that the set names, each with its keys.
func keepItems(have []any, set *fieldpath.Set) []any {
	var out []any
	for index, item := range have {
		element, found := elementOf(item, index, set)
		if !found {
			continue
		}
		part, ok := keep(item, element, set)
		if !ok {
			continue
		}
		if fields, isMap := part.(map[string]any); isMap && element.Key != nil {
			for _, key := range *element.Key {
				fields[key.Name] = key.Value.Unstructured()
			}
		}
		out = append(out, part)
	}
	return out
}

// elementOf finds the element of a set that stands for an item of a list.
func elementOf(item any, index int, set *fieldpath.Set) (element fieldpath.PathElement, found bool) {
	matches := func(e fieldpath.PathElement) {
		switch {
		case found:
		case e.Key != nil:
			fields, ok := item.(map[string]any)
			if ok && hasKeys(fields, *e.Key) {
				element, found = e, true
			}
		case e.Value != nil:
			if value.Equals(value.NewValueInterface(item), *e.Value) {
				element, found = e, true
			}
		case e.Index != nil && *e.Index == index:
			element, found = e, true
		}
	}
	set.Members.Iterate(matches)
	set.Children.Iterate(matches)
	return element, found
}

// hasKeys tells whether the item of an associative list has these keys.
func hasKeys(item map[string]any, keys value.FieldList) bool {
	for _, key := range keys {
		if !value.Equals(value.NewValueInterface(item[key.Name]), key.Value) {
			return false
		}
	}
	return true
}

// merge returns defaults with what is wanted on top.
func merge(defaults, wanted any) any {
	switch wanted := wanted.(type) {
	case nil:
		return defaults
	case map[string]any:
		fields, ok := defaults.(map[string]any)
		if !ok {
			return wanted
		}
		for field, inner := range wanted {
			fields[field] = merge(fields[field], inner)
		}
		return fields
	case []any:
		items, ok := defaults.([]any)
		if !ok || len(items) != len(wanted) {
			return wanted
		}
		for i := range wanted {
			items[i] = merge(items[i], wanted[i])
		}
		return items
	}
	return wanted
}
