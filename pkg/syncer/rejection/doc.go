// Package rejection classifies what an API server answers to a write, and holds the report, the annotation in which the
// user reads how the copy of an object fares.
//
//	notfound.go  IsNotFound: whether an object is proven not to exist
//	report.go    Report: the annotation
//	status.go    StatusUp: the status of a copy for its object
//	classify.go  Classify: what is reported about an answer, and whether it is tried again
//	reasons.go   Reason: the table of what refuses an object, and of the texts
//	invalid.go   the texts about invalid fields
//	conflict.go  FieldConflicts, ConflictMessage: fields of a copy that another manager owns
//	clip.go      Clip: bounded texts
package rejection
