// Package bench has the benchmarks of the program; docs/performance.md says how
// to run them.
package bench
