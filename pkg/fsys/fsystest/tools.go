package fsystest

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// Run runs a program that makes or reads images, in the time zone UTC. Without
// the program the test is skipped, except in continuous integration.
func Run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// Noise returns n bytes, always the same, that differ from block to block.
func Noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Allocs counts the allocations of run, which are the same on every machine.
// The race detector adds some of its own: then nothing is counted.
func Allocs(t *testing.T, name string, want float64, run func()) {
	t.Helper()
	if Slow > 1 {
		return
	}
	if got := testing.AllocsPerRun(100, run); got != want {
		t.Errorf("%s: %v allocations, want %v", name, got, want)
	}
}
