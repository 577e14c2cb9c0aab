// Command bench compares isomount with other ways to look into an image, and
// with the goals that it has set itself. It prints tables in Markdown to the
// standard output, and what it is doing to the standard error.
//
//	bench [FLAG]... BIN
//
// BIN holds isomount and isomountd. It runs as root: caches are dropped between
// cold runs, and the kernel's own file systems are mounted for comparison.
//
// What counts are the ratios within one run: machines are noisy. Whatever is
// compared therefore takes turns, round by round, and the median counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	// SIGPIPE too: whoever reads the tables may have seen enough.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// A bench is one run.
type bench struct {
	ctx   context.Context //nolint:containedctx // of the whole program
	bin   string          // directory of the programs
	work  string          // directory for everything that is made
	sizes sizes
	undo  []func()
}

// sizes is how much is measured.
type sizes struct {
	files  int           // small files
	large  int           // MiB of large files
	rounds int           // of each measurement
	spend  time.Duration // on one workload on one mount; then the rounds so far will do
	only   string        // this workload alone
	drives int
	starts int
	growth int // files of the largest tree
	zisofs int // MiB
}

// tables is everything that is measured, in order.
var tables = []struct {
	name    string
	measure func(*bench) error
}{
	{"workloads", (*bench).compare},
	{"start", (*bench).start},
	{"drives", (*bench).drives},
	{"growth", (*bench).growth},
	{"zisofs", (*bench).zisofs},
}

func tableNames() string {
	var names []string
	for _, t := range tables {
		names = append(names, t.name)
	}
	return strings.Join(names, ",")
}

func run(ctx context.Context) error {
	var s sizes
	flag.IntVar(&s.files, "files", 100_000, "small files in the tree of the workloads; half as many more lie in one directory")
	flag.IntVar(&s.large, "large", 1024, "MiB of large files")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds; the median counts")
	flag.DurationVar(&s.spend, "spend", 4*time.Second, "fewer rounds for a mount that has spent this time on a workload")
	flag.StringVar(&s.only, "only", "", "only this workload")
	flag.IntVar(&s.drives, "drives", 1000, "drives of one daemon")
	flag.IntVar(&s.starts, "starts", 50, "runs of the client, of which the median counts")
	flag.IntVar(&s.growth, "growth", 1_000_000, "files of the largest of the trees that grow")
	flag.IntVar(&s.zisofs, "zisofs", 256, "MiB of a compressed file")
	list := flag.String("tables", tableNames(), "what to measure")
	flag.Parse()
	if flag.NArg() != 1 || os.Getuid() != 0 || min(s.files, s.large, s.rounds, s.drives, s.starts, s.growth, s.zisofs) < 1 {
		return errors.New("usage, as root: bench [FLAG]... BIN; see -help")
	}
	bin, err := filepath.Abs(flag.Arg(0))
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "isomount-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &bench{ctx: ctx, bin: bin, work: work, sizes: s}
	return b.measure(strings.Split(*list, ","))
}

func (b *bench) measure(names []string) error {
	for _, t := range tables {
		if !slices.Contains(names, t.name) {
			continue
		}
		began := time.Now()
		if err := b.scope(func() error { return t.measure(b) }); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		b.say("%s took %v", t.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// scope undoes what f did before it returns.
func (b *bench) scope(f func() error) error {
	before := len(b.undo)
	defer func() {
		for _, undo := range slices.Backward(b.undo[before:]) {
			undo()
		}
		b.undo = b.undo[:before]
	}()
	return f()
}

// later has f called at the end of the scope.
func (b *bench) later(f func()) { b.undo = append(b.undo, f) }

// say tells whoever waits how far things are.
func (*bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// path names something in the working directory.
func (b *bench) path(name string) string { return filepath.Join(b.work, name) }
