package transform

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ourPrefix begins the names of our own labels and annotations.
const ourPrefix = "workload.kcp.io/"

// Without returns a copy of an object without these fields. They are named as the API server names them in a conflict
// of field managers: .spec.template.spec.containers[name="web"].image. A map or list that becomes empty is removed too;
// an item of a list stays, even if nothing or only its keys are left.
//
// missing are the fields that are not removed, because the object does not have them or because a copy needs them: the
// fields that identify it or an item of a list, and our own labels and annotations.
func Without(desired *unstructured.Unstructured, fields []string) (out *unstructured.Unstructured, missing []string) {
	out = desired.DeepCopy()
	removed := &removal{}
	for _, field := range fields {
		location, found := locate(out.Object, field, nil)
		if !found || isProtected(out, location) {
			missing = append(missing, field)
			continue
		}
		removed.add(location)
	}
	removed.from(out.Object)
	return out, missing
}

// step is one element of a location: a key of a map, or the index of an item of a list.
type step struct {
	key   string
	index int
}

// locate returns where the field is that a path names, starting at this value. keys are the fields that identify the
// value as an item of a list, and they are not found.
func locate(value any, path string, keys []string) (location []step, found bool) {
	if path == "" {
		return nil, true
	}
	switch value := value.(type) {
	case map[string]any:
		return locateInMap(value, path, keys)
	case []any:
		return locateInList(value, path)
	}
	return nil, false
}

// locateInMap tries every key with which the path goes on, the longest first: a path does not escape the dots in a key.
func locateInMap(value map[string]any, path string, keys []string) (location []step, found bool) {
	path, isField := strings.CutPrefix(path, ".")
	if !isField {
		return nil, false
	}
	for _, key := range slices.SortedFunc(maps.Keys(value), func(a, b string) int { return len(b) - len(a) }) {
		rest, matches := strings.CutPrefix(path, key)
		if !matches || slices.Contains(keys, key) {
			continue
		}
		if below, found := locate(value[key], rest, nil); found {
			return append([]step{{key: key}}, below...), true
		}
	}
	return nil, false
}

func locateInList(list []any, path string) (location []step, found bool) {
	selected, rest, ok := parseSelector(path)
	if !ok {
		return nil, false
	}
	index := selected.indexIn(list)
	if index < 0 {
		return nil, false
	}
	below, found := locate(list[index], rest, selected.keys())
	return append([]step{{index: index}}, below...), found
}

// isProtected reports whether a copy needs the field at a location, or one below it.
func isProtected(object *unstructured.Unstructured, location []step) bool {
	isOurs := func(name string) bool { return strings.HasPrefix(name, ourPrefix) }
	switch {
	case len(location) == 0:
		return true
	case location[0].key != "metadata":
		return location[0].key == "apiVersion" || location[0].key == "kind"
	case len(location) == 1:
		return true
	}
	switch second := location[1].key; second {
	case "name", "namespace":
		return true
	case "labels", "annotations":
		if len(location) > 2 {
			return isOurs(location[2].key)
		}
		names, _, _ := unstructured.NestedMap(object.Object, "metadata", second)
		return slices.ContainsFunc(slices.Collect(maps.Keys(names)), isOurs)
	}
	return false
}

// removal is a tree of locations to remove. They are removed together, so that the indexes in lists hold.
type removal struct {
	whole bool
	below map[step]*removal
}

func (r *removal) add(location []step) {
	if len(location) == 0 {
		r.whole = true
		return
	}
	if r.below == nil {
		r.below = map[step]*removal{}
	}
	if r.below[location[0]] == nil {
		r.below[location[0]] = &removal{}
	}
	r.below[location[0]].add(location[1:])
}

// from returns what is left of a value, which it changes.
func (r *removal) from(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for at, below := range r.below {
			if left := below.from(value[at.key]); below.whole || isEmptyMap(left) {
				delete(value, at.key)
			} else {
				value[at.key] = left
			}
		}
	case []any:
		left := []any{}
		for i, item := range value {
			below := r.below[step{index: i}]
			switch {
			case below == nil:
				left = append(left, item)
			case !below.whole:
				left = append(left, below.from(item))
			}
		}
		return left
	}
	return value
}

func isEmptyMap(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}

// selector identifies an item of a list: by its index, or by some of its fields. A selector of one field without a name
// is the value of an item that has no fields.
type selector struct {
	index  int
	fields []selectorField
}

// selectorField is a field of an item, and its value as the API server prints it.
type selectorField struct{ name, value string }

// parseSelector reads the selector with which a path begins: [3], [="value"] or [containerPort=80,protocol="TCP"].
func parseSelector(path string) (s selector, rest string, ok bool) {
	path, ok = strings.CutPrefix(path, "[")
	if !ok {
		return s, "", false
	}
	if first, rest, _ := strings.Cut(path, "]"); isIndex(first) {
		s.index, _ = strconv.Atoi(first)
		return s, rest, true
	}
	for {
		name, after, _ := strings.Cut(path, "=")
		value := printedValue(after)
		if value == "" || len(after) == len(value) {
			return s, "", false
		}
		s.fields = append(s.fields, selectorField{name, value})
		end := after[len(value)]
		path = after[len(value)+1:]
		switch end {
		case ']':
			return s, path, true
		case ',':
		default:
			return s, "", false
		}
	}
}

func isIndex(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}

// printedValue returns the value with which a text begins: a quoted string, a number, a boolean or null.
func printedValue(text string) string {
	if quoted, err := strconv.QuotedPrefix(text); err == nil {
		return quoted
	}
	if end := strings.IndexAny(text, ",]"); end >= 0 {
		return text[:end]
	}
	return ""
}

func (s selector) keys() (names []string) {
	for _, field := range s.fields {
		names = append(names, field.name)
	}
	return names
}

// indexIn returns the index of the selected item; -1 if there is none. An item may lack a key, because the API server
// has set it to its default; it is then the only item whose other keys match.
func (s selector) indexIn(list []any) int {
	if len(s.fields) == 0 {
		if s.index < len(list) {
			return s.index
		}
		return -1
	}
	partial, partials := -1, 0
	for i, item := range list {
		switch matching, lacking := s.compare(item); {
		case matching == len(s.fields):
			return i
		case matching > 0 && matching+lacking == len(s.fields):
			partial = i
			partials++
		}
	}
	if partials != 1 {
		return -1
	}
	return partial
}

// compare returns how many of the selector's fields an item has with the same value, and how many it lacks.
func (s selector) compare(item any) (matching, lacking int) {
	fields, isMap := item.(map[string]any)
	for _, field := range s.fields {
		value, found := fields[field.name]
		if !isMap && field.name == "" {
			value, found = item, true
		}
		switch {
		case !found:
			lacking++
		case printed(value) == field.value:
			matching++
		}
	}
	return matching, lacking
}

// printed returns a value as the API server prints it in the path of a field.
func printed(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(value)
	}
	return fmt.Sprint(value)
}
