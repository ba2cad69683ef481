// Package fairness divides what is limited between groups, such as the workspaces of a controller or the Namespaces of a
// syncer, so that no group can keep the others waiting:
//
//   - Queue is a work queue in which groups take turns, and in which no group holds all the workers.
//   - Limiter bounds how many calls that may hang are in flight.
package fairness
