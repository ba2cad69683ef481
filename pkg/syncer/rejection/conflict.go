package rejection

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxConflicts bounds the fields that ConflictMessage names.
const maxConflicts = 10

// FieldConflict is a field that a server-side apply sets and that another field manager owns with another value.
type FieldConflict struct {
	// Manager is the name of the owner.
	Manager string
	// Field is the path in the server's notation, such as .spec.template.spec.containers[name="web"].image
	Field string
	// Message is the server's text about it.
	Message string
}

// FieldConflicts returns the conflicts of field managers that an API server has answered with, in its order.
func FieldConflicts(err error) []FieldConflict {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || answer.Status().Details == nil {
		return nil
	}
	var conflicts []FieldConflict
	for _, cause := range answer.Status().Details.Causes {
		if cause.Type == metav1.CauseTypeFieldManagerConflict {
			conflicts = append(conflicts, FieldConflict{Manager: managerIn(cause.Message), Field: cause.Field, Message: cause.Message})
		}
	}
	return conflicts
}

// managerIn returns the manager that a server names as in: conflict with "kubectl-edit" using apps/v1
func managerIn(message string) string {
	quoted, err := strconv.QuotedPrefix(strings.TrimPrefix(message, "conflict with "))
	if err != nil {
		return ""
	}
	manager, err := strconv.Unquote(quoted)
	if err != nil {
		return ""
	}
	return manager
}

// ConflictMessage tells the user of an object of this kind which fields are left to which managers, and how to set them
// all the same. It names at most maxConflicts fields.
func ConflictMessage(conflicts []FieldConflict, kind string) string {
	sorted := slices.SortedFunc(slices.Values(conflicts), compareConflicts)
	sorted = slices.CompactFunc(sorted, func(a, b FieldConflict) bool { return compareConflicts(a, b) == 0 })
	if len(sorted) == 0 {
		return ""
	}
	left := "; these fields are left as they are in the physical cluster. To set them from here, "
	if len(sorted) == 1 {
		left = "; this field is left as it is in the physical cluster. To set it from here, "
	}
	return Clip(ownersOf(sorted) + left + "annotate the " + cmp.Or(kind, "object") + " with " + workloadv1alpha1.AnnotationTakeOver + "=true")
}

func compareConflicts(a, b FieldConflict) int {
	return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Field, b.Field))
}

// ownersOf returns the fields by manager, as in: spec.replicas is owned by "a", spec.paused and spec.selector by "b"
func ownersOf(sorted []FieldConflict) string {
	named, verb := sorted[:min(len(sorted), maxConflicts)], "are owned "
	var phrases []string
	for start := 0; start < len(named); {
		manager := named[start].Manager
		var fields []string
		for ; start < len(named) && named[start].Manager == manager; start++ {
			fields = append(fields, clip(strings.TrimPrefix(named[start].Field, "."), maxField))
		}
		if len(phrases) == 0 && len(fields) == 1 {
			verb = "is owned "
		}
		phrases = append(phrases, fmt.Sprintf("%s %sby %s", enumerate(fields), verb, quoteManager(manager)))
		verb = ""
	}
	if more := len(sorted) - len(named); more > 0 {
		phrases = append(phrases, andMore(more))
	}
	return strings.Join(phrases, ", ")
}

func quoteManager(manager string) string {
	if manager == "" {
		return "another manager"
	}
	return strconv.Quote(manager)
}

// enumerate returns: a, b and c
func enumerate(items []string) string {
	last := len(items) - 1
	if last == 0 {
		return items[0]
	}
	return strings.Join(items[:last], ", ") + " and " + items[last]
}
