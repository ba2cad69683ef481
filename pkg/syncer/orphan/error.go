package orphan

import "fmt"

// Error says that a syncer is orphaned.
type Error struct {
	// Answer is the last negative answer.
	Answer Answer
	// Cause is the error that it came with; nil if there was none.
	Cause error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Answer.meaning()
	}
	return fmt.Sprintf("%s (%v)", e.Answer.meaning(), e.Cause)
}

// Unwrap returns the error of the API server.
func (e *Error) Unwrap() error { return e.Cause }
