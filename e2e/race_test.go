//go:build race

package e2e

// raceFlags build the edge with the race detector when the tests have it.
var raceFlags = []string{"-race"}
