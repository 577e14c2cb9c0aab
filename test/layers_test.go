package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/isomount/isomount/"

// rooms lists what each package may use of this module, directly or not: bytes
// flow from the source to the kernel, and nothing flows back. The linter looks
// at what a file imports; this test also at what that imports in turn.
var rooms = map[string][]string{
	"pkg/binfmt":        {},
	"pkg/fsys":          {},
	"pkg/cache":         {},
	"pkg/source":        {},
	"pkg/mount":         {},
	"pkg/ipc":           {},
	"pkg/notify":        {},
	"pkg/tomlfile":      {},
	"pkg/image":         {"pkg/binfmt", "pkg/source"},
	"pkg/inflate":       {},
	"pkg/isofs":         {"pkg/binfmt", "pkg/fsys", "pkg/inflate"},
	"pkg/isofs/master":  {"pkg/binfmt", "pkg/fsys"},
	"pkg/udf":           {"pkg/binfmt", "pkg/fsys"},
	"pkg/hfsplus":       {"pkg/binfmt", "pkg/fsys", "pkg/hfsplus/lzfse", "pkg/inflate"},
	"pkg/hfsplus/lzfse": {},
	"pkg/fusefs":        {"pkg/binfmt", "pkg/fsys"},
	"pkg/volume":        {"pkg/binfmt", "pkg/fsys", "pkg/isofs", "pkg/udf", "pkg/hfsplus", "pkg/hfsplus/lzfse", "pkg/inflate", "pkg/boot", "pkg/boot/fat"},
}

// readers must not know who uses them.
var foreign = map[string][]string{
	"pkg/isofs":   {"github.com/hanwen/go-fuse", "go.uber.org/zap", "net"},
	"pkg/udf":     {"github.com/hanwen/go-fuse", "go.uber.org/zap", "net"},
	"pkg/hfsplus": {"github.com/hanwen/go-fuse", "go.uber.org/zap", "net"},
	"pkg/drive":   {module + "pkg/ipc"},
	"cmd/isomount": {
		"github.com/hanwen/go-fuse", "go.uber.org/zap", module + "pkg/drive", module + "pkg/fusefs",
	},
}

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", module+pkg).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}

func TestLayers(t *testing.T) {
	for pkg, allowed := range rooms {
		for _, d := range deps(t, pkg) {
			own, ok := strings.CutPrefix(d, module)
			if ok && own != pkg && !slices.Contains(allowed, own) {
				t.Errorf("%s uses %s", pkg, own)
			}
		}
	}
	for pkg, banned := range foreign {
		for _, d := range deps(t, pkg) {
			for _, b := range banned {
				if d == b || strings.HasPrefix(d, b+"/") {
					t.Errorf("%s uses %s", pkg, d)
				}
			}
		}
	}
}
