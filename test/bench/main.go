// Command bench compares isomount with other ways to look into an image, side
// by side in one run: the same files as ISO 9660, squashfs and erofs, the same
// workload on one mount after the other, round by round. What counts are the
// ratios; machines are noisy.
//
//	bench [-files N] [-large MIB] [-rounds N] BIN
//
// BIN holds isomount and isomountd. It runs as root: caches are dropped between
// cold runs, and the kernel's own file systems are mounted for comparison.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(ctx context.Context) error {
	files := flag.Int("files", 100_000, "small files in the tree")
	large := flag.Int("large", 1024, "MiB of large files")
	rounds := flag.Int("rounds", 5, "rounds; the median counts")
	only := flag.String("only", "", "only this workload")
	flag.Parse()
	if flag.NArg() != 1 || os.Getuid() != 0 {
		return fmt.Errorf("usage, as root: bench [flags] BIN")
	}
	work, err := os.MkdirTemp("", "isomount-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &bench{ctx: ctx, bin: flag.Arg(0), work: work, rounds: *rounds, only: *only}
	defer b.close()
	fmt.Fprintf(os.Stdout, "%d small files, %d MiB of large ones, %d rounds\n", *files, *large, *rounds)
	if err := b.makeImages(*files, *large); err != nil {
		return err
	}
	if err := b.mountAll(); err != nil {
		return err
	}
	return b.measure()
}

// A bench is one run.
type bench struct {
	ctx    context.Context //nolint:containedctx // of the whole program
	bin    string
	work   string
	rounds int
	only   string
	mounts []*mounted
	undo   []func()
}

// A mounted is one way to look into the image.
type mounted struct {
	name string
	dir  string
	pid  int // of the process that serves it, 0 for the kernel
}

func (b *bench) close() {
	for _, f := range slices.Backward(b.undo) {
		f()
	}
}

// measure runs every workload on every mount, round by round.
func (b *bench) measure() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "workload\t")
	for _, m := range b.mounts {
		fmt.Fprintf(w, "%s\t", m.name)
	}
	fmt.Fprint(w, "isomount/fuseiso\tisomount/kernel\t\n")
	for _, load := range workloads {
		if b.only != "" && b.only != load.name {
			continue
		}
		median, err := b.rounded(load)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		fmt.Fprintf(w, "%s\t", load.name)
		for _, m := range b.mounts {
			fmt.Fprintf(w, "%s\t", median[m.name].Round(100*time.Microsecond))
		}
		fmt.Fprintf(w, "%s\t%s\t\n", ratio(median, "fuseiso"), ratio(median, "erofs"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, m := range b.mounts {
		if m.pid != 0 {
			fmt.Fprintf(os.Stdout, "%s: %s of memory of its own\n", m.name, anonymous(m.pid))
		}
	}
	return nil
}

func ratio(median map[string]time.Duration, other string) string {
	if median[other] == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(median["isomount"])/float64(median[other]))
}

// rounded gives the median time of a workload on each mount. The mounts take
// turns, so that a slow moment of the machine hits all of them.
func (b *bench) rounded(load workload) (map[string]time.Duration, error) {
	times := map[string][]time.Duration{}
	for range b.rounds {
		for _, m := range b.mounts {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			if load.cold {
				if err := dropCaches(); err != nil {
					return nil, err
				}
			} else if err := load.run(m.dir); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			began := time.Now()
			if err := load.run(m.dir); err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			times[m.name] = append(times[m.name], time.Since(began))
		}
	}
	median := map[string]time.Duration{}
	for name, t := range times {
		slices.Sort(t)
		median[name] = t[len(t)/2]
	}
	return median, nil
}
