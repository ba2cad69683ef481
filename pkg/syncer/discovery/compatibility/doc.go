// Package compatibility judges whether the objects of one resource can travel between a workspace of kcp and a
// physical cluster, and says at which fields they cannot. It reads what the two API servers publish of themselves
// under /openapi/v3/, and asks nobody.
//
// The question has a direction: whatever the workspace accepts, the physical cluster must understand. The status
// travels the other way, and is asked about the other way round. Top-level metadata is never asked about.
//
//	document  finds one kind in an OpenAPI document and follows its references, within limits
//	schema    the part of an OpenAPI schema that takes part
//	walk      two schemas side by side: types, fields that would be lost, fields that are required
//	value     what a schema says of a value: enum, bounds, pattern, format
//	message   the result as one bounded sentence
//
// What cannot be known is not reported; the server has words of its own for the object that it refuses. So these do
// not take part: CEL rules, not/anyOf/oneOf beyond the types that they offer, nullable, multipleOf, list and map
// types. Of kinds written in Go, OpenAPI hardly tells the validation. Next to one, a validation that one side alone
// states is no difference, and a field that one side alone knows a partial one: two schemas of the same Go types are
// compatible, whatever generator wrote them and whatever release they are of, but for the objects that use that field.
//
// A document from a workspace is written by a tenant: its size, its depth and the work spent on it are limited, and
// beyond the limits there is no verdict but ErrTooComplex.
package compatibility
