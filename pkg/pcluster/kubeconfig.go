package pcluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A kubeconfig is read as a tree of nodes, not decoded into structs: that way nothing is expanded, no key matches by
// another case, and what is unknown or forbidden can be told from what is known, each with its own sentence.

// entry is a named cluster, user or context.
type entry struct {
	kind   string // as in a sentence: cluster, user, context
	name   string
	fields map[string]*yaml.Node
}

type file struct {
	clusters, users, contexts []entry
	current                   string
}

// readDocument returns the root of the only YAML document that is not empty, a mapping, in which nothing refers to anything else.
func readDocument(kubeconfig []byte) (*yaml.Node, error) {
	if len(kubeconfig) > maxKubeconfigBytes {
		return nil, invalid("the kubeconfig is larger than %d KiB", maxKubeconfigBytes>>10)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(kubeconfig))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, invalid("the kubeconfig is empty")
	case err != nil:
		return nil, notYAML(err)
	}
	if err := expectNoMore(decoder); err != nil {
		return nil, err
	}
	root := document.Content[0]
	switch {
	case refers(root):
		return nil, invalid("YAML anchors, aliases and explicit tags are not allowed")
	case isUnset(root):
		return nil, invalid("the kubeconfig is empty")
	case root.Kind != yaml.MappingNode:
		return nil, invalid("the kubeconfig is not a YAML mapping")
	}
	return root, nil
}

// expectNoMore refuses further documents unless they are empty, such as what follows a trailing "---". kubectl reads only
// the first document and ignores the others. Content in another document is refused: it would have no effect.
func expectNoMore(decoder *yaml.Decoder) error {
	for {
		var document yaml.Node
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return notYAML(err)
		}
		if root := document.Content[0]; refers(root) || !isUnset(root) {
			return invalid("the kubeconfig has more than one YAML document")
		}
	}
}

// notYAML keeps nothing of the parser's error but the line: it may quote the document.
func notYAML(err error) error {
	var line int
	if _, scanErr := fmt.Sscanf(err.Error(), "yaml: line %d:", &line); scanErr == nil {
		return invalid("the kubeconfig is not valid YAML: see line %d", line)
	}
	return invalid("the kubeconfig is not valid YAML")
}

// refers reports whether a node below this one is an alias or could be the target of one, or claims a type of its own.
// Aliases expand exponentially ("billion laughs"); the parser leaves them unexpanded, and so nothing was spent on them.
func refers(node *yaml.Node) bool {
	return node.Kind == yaml.AliasNode || node.Anchor != "" || node.Style&yaml.TaggedStyle != 0 ||
		slices.ContainsFunc(node.Content, refers)
}

func readFile(root *yaml.Node) (*file, error) {
	top, err := fileFields().read("the kubeconfig", root)
	if err != nil {
		return nil, err
	}
	var read file
	for _, list := range []struct {
		into        *[]entry
		field, kind string
		fields      fields
	}{
		{into: &read.clusters, field: "clusters", kind: "cluster", fields: clusterFields()},
		{into: &read.users, field: "users", kind: "user", fields: userFields()},
		{into: &read.contexts, field: "contexts", kind: "context", fields: contextFields()},
	} {
		if *list.into, err = list.fields.readList(list.kind, list.field, top[list.field]); err != nil {
			return nil, err
		}
	}
	if read.current, err = scalar("the kubeconfig", "current-context", top["current-context"]); err != nil {
		return nil, err
	}
	return &read, nil
}

// readList reads a list such as users: [{name: …, user: {…}}].
func (f fields) readList(kind, field string, node *yaml.Node) ([]entry, error) {
	if isUnset(node) {
		return nil, nil
	}
	if node.Kind != yaml.SequenceNode {
		return nil, invalid("%s is not a list", field)
	}
	var entries []entry
	for _, element := range node.Content {
		name, value, err := readNamed(kind, field, element)
		if err != nil {
			return nil, err
		}
		if _, ok := find(entries, name); ok {
			return nil, invalid("%s %q is defined twice", kind, short(name))
		}
		inner, err := f.readScalars(fmt.Sprintf("%s %q", kind, short(name)), value)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{kind: kind, name: name, fields: inner})
	}
	return entries, nil
}

// readNamed reads an element of a list, such as {name: …, user: {…}}. The name is not empty.
func readNamed(kind, field string, element *yaml.Node) (name string, value *yaml.Node, err error) {
	where := "an entry of " + field
	outer, err := fields{known: []string{"name", kind}}.read(where, element)
	if err != nil {
		return "", nil, err
	}
	if name, err = scalar(where, "name", outer["name"]); err != nil {
		return "", nil, err
	}
	if name == "" {
		return "", nil, invalid("an entry of %s has no name", field)
	}
	return name, outer[kind], nil
}

// readScalars returns the fields of a mapping in which all but the extensions are plain values.
func (f fields) readScalars(where string, node *yaml.Node) (map[string]*yaml.Node, error) {
	found, err := f.read(where, node)
	if err != nil {
		return nil, err
	}
	for _, known := range f.known {
		if known == "extensions" {
			continue
		}
		if _, err := scalar(where, known, found[known]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// read returns the fields of a mapping; a null has none. The first in the document that is refused makes the error.
func (f fields) read(where string, node *yaml.Node) (map[string]*yaml.Node, error) {
	found := map[string]*yaml.Node{}
	if isUnset(node) {
		return found, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, invalid("%s is not a mapping", where)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		reason, forbidden := f.forbidden[key]
		if node.Content[i].Kind != yaml.ScalarNode || !forbidden && !slices.Contains(f.known, key) {
			// The unknown key is not named: in a damaged document it may be part of a secret.
			return nil, invalid("%s has a field that is not allowed; allowed are %s", where, strings.Join(f.known, ", "))
		}
		if forbidden && !isOff(value) {
			return nil, invalid("%s: %s is not allowed: %s", where, key, reason)
		}
		if _, twice := found[key]; twice {
			return nil, invalid("%s has %s twice", where, key)
		}
		found[key] = value
	}
	return found, nil
}

func scalar(where, field string, node *yaml.Node) (string, error) {
	if !isUnset(node) && node.Kind != yaml.ScalarNode {
		return "", invalid("%s: %s is not a plain value", where, field)
	}
	return text(node), nil
}

func isUnset(node *yaml.Node) bool {
	return node == nil || node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// isOff reports whether a forbidden field is present but empty, as tools write it, and so asks for nothing.
func isOff(node *yaml.Node) bool {
	return isUnset(node) || node.Kind == yaml.ScalarNode && (node.Value == "" || node.Value == "false")
}

func (f *file) currentContext() (entry, error) {
	switch {
	case len(f.contexts) == 0:
		return entry{}, invalid("the kubeconfig has no context")
	case f.current == "" && len(f.contexts) > 1:
		return entry{}, invalid("the kubeconfig has several contexts and no current-context; set current-context")
	case f.current == "":
		return f.contexts[0], nil
	}
	context, ok := find(f.contexts, f.current)
	if !ok {
		return entry{}, invalid("current-context %q does not exist", short(f.current))
	}
	return context, nil
}

func find(entries []entry, name string) (entry, bool) {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name })
	if i < 0 {
		return entry{}, false
	}
	return entries[i], true
}

// short cuts a name for use in a sentence.
func short(name string) string {
	const enough = 64
	if runes := []rune(name); len(runes) > enough {
		return string(runes[:enough]) + "…"
	}
	return name
}
