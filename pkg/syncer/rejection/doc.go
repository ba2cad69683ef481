// Package rejection says what the answer of an API server to a write means for an object, and holds the report, the annotation
// in which the user reads it.
//
//	report.go  Report: the annotation
package rejection
