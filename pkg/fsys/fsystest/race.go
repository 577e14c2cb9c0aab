//go:build race

package fsystest

// Slow is how many times slower, and how much more memory, a reader may take in
// this build: the race detector looks at every access, and drops what pools hold.
const Slow = 20
