// Package plugin holds the commands of kubectl synctarget.
//
// A command is a file: its flags, then run. Data goes to stdout, progress and errors to stderr. An error that ends a command
// has an exit code and ends with what the user can do next: see failure.go. What a command makes of the objects it has read
// is decided by functions without a client, so that their tests are tables.
package plugin
