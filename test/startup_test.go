package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxStartup is how many bytes packages may allocate before main begins. What is
// made then costs every command, some 5 µs a page on a virtual machine. A half
// is due to cobra and to the decoder of zstd.
const maxStartup = 40_000

// dearPackages are those that the client did without with effort: they fill
// tables, or read files, whenever a program that imports them starts.
var dearPackages = []string{
	"github.com/BurntSushi/toml",
	"github.com/klauspost/compress/flate",
	"golang.org/x/text/encoding/ianaindex",
	"golang.org/x/text/encoding/unicode",
	"compress/flate",
	"net/http",
	"crypto/tls",
}

// Before a command is known nothing is made ready for any: packages of ours
// allocate nothing when the program starts, and the others little.
func TestStartupMakesNothing(t *testing.T) {
	cmd := exec.Command(filepath.Join(bin, "isomount"), "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	total, packages := 0, 0
	for line := range strings.Lines(trace.String()) {
		var name, at, took string
		var size, allocs int
		if _, err := fmt.Sscanf(line, "init %s @%s ms, %s ms clock, %d bytes, %d allocs", &name, &at, &took, &size, &allocs); err != nil {
			continue
		}
		packages++
		total += size
		if allocs > 0 && (name == "main" || strings.HasPrefix(name, module)) {
			t.Errorf("%s makes %d bytes in %d pieces when the program starts; make them when they are asked for", name, size, allocs)
		}
	}
	if packages < 10 {
		t.Errorf("%d packages in the trace:\n%s", packages, trace.String())
	}
	if total > maxStartup {
		t.Errorf("%d bytes are made when the program starts, want at most %d:\n%s", total, maxStartup, trace.String())
	}
	for _, dep := range deps(t, "cmd/isomount") {
		for _, dear := range dearPackages {
			if dep == dear || strings.HasPrefix(dep, dear+"/") {
				t.Errorf("the client imports %s, which makes every command slower", dep)
			}
		}
	}
}
