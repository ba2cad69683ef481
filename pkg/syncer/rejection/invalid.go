package rejection

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxCauses bounds the fields that are named of an invalid object.
	maxCauses = 5
	// maxCause bounds the text about one of them, in bytes.
	maxCause = 400
	// maxValue bounds the values that are repeated, in bytes. A short value helps to find the error.
	maxValue = 80
)

// detailsOf returns what an API server says about the fields of an object, or its message if it does not name any.
func detailsOf(answer *apierrors.StatusError) string {
	var texts []string
	for _, cause := range fieldCauses(answer) {
		if text := causeText(cause); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return withoutLongValues(messageOf(answer))
	}
	return strings.Join(atMost(texts, maxCauses), "; ")
}

// fieldCauses returns the causes of an answer that are about fields, or about the object as a whole, for which there is
// no path.
func fieldCauses(answer *apierrors.StatusError) []metav1.StatusCause {
	if answer.ErrStatus.Details == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(answer.ErrStatus.Details.Causes), func(c metav1.StatusCause) bool {
		isOfField := c.Field != "" || strings.HasPrefix(string(c.Type), "FieldValue")
		return !isOfField || c.Message == ""
	})
}

// causeText returns: spec.replicas: Invalid value: -1: must be greater than or equal to 0
func causeText(cause metav1.StatusCause) string {
	text := withoutLongValues(cause.Message)
	if !slices.Contains(noField, cause.Field) {
		text = cause.Field + ": " + text
	}
	return clip(text, maxCause)
}

// noField are the paths that an API server gives for the object as a whole.
var noField = []string{"", field.NewPath("").String(), (*field.Path)(nil).String()}

// isTooLong reports whether the only fault of an object is the length of fields, as of the data of a ConfigMap.
func isTooLong(err error) bool {
	answer, ok := answerIn(err)
	if !ok || !apierrors.IsInvalid(answer) {
		return false
	}
	causes := fieldCauses(answer)
	if len(causes) == 0 {
		return strings.Contains(messageOf(answer), field.ErrorTypeTooLong.String()+": ")
	}
	return !slices.ContainsFunc(causes, func(c metav1.StatusCause) bool {
		return c.Type != metav1.CauseType(field.ErrorTypeTooLong)
	})
}

// valueKind is what stands before a value in the message of a field.Error.
var valueKind = regexp.MustCompile(`(Invalid|Unsupported|Duplicate) value: `)

// withoutLongValues takes the values that are longer than maxValue out of a message: an API server repeats whole Pod
// templates.
func withoutLongValues(message string) string {
	at := valueKind.FindStringIndex(message)
	if at == nil {
		return message
	}
	before, kind := message[:at[0]], message[at[0]:at[1]]
	length, found := valueLength(message[at[1]:])
	if !found {
		return message
	}
	value, rest := message[at[1]:at[1]+length], message[at[1]+length:]
	detail, hasDetail := strings.CutPrefix(rest, ": ")
	switch {
	case length <= maxValue:
		return before + kind + value + withoutLongValues(rest)
	case !hasDetail:
		return before + strings.TrimSuffix(kind, ": ") + withoutLongValues(rest)
	case strings.HasPrefix(kind, "Invalid"):
		return before + withoutLongValues(detail) // the text begins with this word already
	}
	return before + kind + withoutLongValues(detail)
}

// valueLength returns how long the value is with which a text begins: up to the first ": " or ", " outside of quotes
// and brackets. Values are JSON, or structs as Go prints them. It is not found if a bracket is not closed.
func valueLength(text string) (length int, found bool) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			if quoted, err := strconv.QuotedPrefix(text[i:]); err == nil {
				i += len(quoted) - 1
			}
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			if depth--; depth < 0 {
				return i, true
			}
		case ':', ',':
			if depth == 0 && strings.HasPrefix(text[i+1:], " ") {
				return i, true
			}
		}
	}
	return len(text), depth == 0
}
