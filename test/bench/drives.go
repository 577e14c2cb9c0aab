package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// driveGoal is how much memory an idle drive beyond the first may cost the
// daemon, in KiB.
const driveGoal = 64

// settle is how long the daemon may take until it has given back what mounting took.
const settle = 3 * time.Second

// drives prints what many drives of one daemon cost.
func (b *bench) drives() error {
	image, err := b.smallImage()
	if err != nil {
		return err
	}
	d, err := b.startDaemon("drives")
	if err != nil {
		return err
	}
	b.later(func() { _ = d.detached("unmount", "--all", "--lazy").Run() })
	dir := b.path("drives")
	b.later(func() { _ = os.RemoveAll(dir) })
	points := make([]string, b.sizes.drives)
	for i := range points {
		points[i] = filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(points[i], 0o755); err != nil {
			return err
		}
	}
	b.say("mounting %d drives", len(points))
	if err := d.run("mount", image, points[0]); err != nil {
		return err
	}
	first, err := d.footprint()
	if err != nil {
		return err
	}
	mounting, err := b.clock(false, func() error { return d.mountEach(image, points[1:]) })
	if err != nil {
		return err
	}
	time.Sleep(settle)
	all, err := d.footprint()
	if err != nil {
		return err
	}
	listing, err := b.repeat(func() error { return d.run("list") })
	if err != nil {
		return err
	}
	reading, err := b.clock(false, func() error { return readEach(points) })
	if err != nil {
		return err
	}
	b.say("unmounting them")
	unmounting, err := b.clock(false, func() error { return d.run("unmount", "--all") })
	if err != nil {
		return err
	}
	t := newTable(fmt.Sprintf("%d drives of one daemon, each mounted by a client of its own, one after the other.", len(points)), "", "", "goal", "")
	t.add("mount", perSecond(len(points)-1, mounting), none, "")
	t.add("list", milliseconds(listing), none, "")
	t.add("open and read a file in each", milliseconds(reading), none, "")
	t.add("unmount --all", perSecond(len(points), unmounting), none, "")
	all.addTo(t, first, len(points)-1)
	t.print(os.Stdout)
	return nil
}

func (d *daemon) mountEach(image string, points []string) error {
	for _, p := range points {
		if err := d.run("mount", image, p); err != nil {
			return err
		}
	}
	return nil
}

func readEach(points []string) error {
	for _, p := range points {
		if _, err := os.ReadFile(filepath.Join(p, "file")); err != nil {
			return err
		}
	}
	return nil
}

// repeat returns the median time of as many runs as there are rounds.
func (b *bench) repeat(f func() error) (time.Duration, error) {
	var times []time.Duration
	for range b.sizes.rounds {
		took, err := b.clock(false, f)
		if err != nil {
			return 0, err
		}
		times = append(times, took)
	}
	return median(times), nil
}

// A footprint is what the daemon takes: sizes in KiB.
type footprint struct{ anon, cache, heap, shared, threads, files int }

func (d *daemon) footprint() (footprint, error) {
	s, err := d.stats()
	if err != nil {
		return footprint{}, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid))
	return footprint{
		anon: anonymous(d.pid), cache: s.CacheSize >> 10, heap: s.Heap >> 10,
		shared: status(d.pid, "RssShmem"), threads: status(d.pid, "Threads"), files: len(open),
	}, err
}

// addTo adds what each of n drives cost beyond the footprint before.
func (f footprint) addTo(t *table, before footprint, n int) {
	n = max(n, 1)
	each := func(now, then int) float64 { return float64(now-then) / float64(n) }
	kib := func(now, then int) string { return fmt.Sprintf("%.1f KiB", each(now, then)) }
	anon := each(f.anon, before.anon)
	t.add("memory of the daemon with one drive", mebibytes(before.anon), none, "")
	t.add("memory of its own for each other idle drive", kib(f.anon, before.anon), fmt.Sprintf("< %d KiB", driveGoal), judge(anon, driveGoal))
	t.add("… of it in the sector cache, which has a budget", kib(f.cache, before.cache), none, "")
	t.add("… of it in use on Go's heap", kib(f.heap, before.heap), none, "")
	t.add("its journal, memory shared with the keeper", kib(f.shared, before.shared), none, "")
	t.add("threads for each", fmt.Sprintf("%.2f", each(f.threads, before.threads)), none, "")
	t.add("descriptors for each", fmt.Sprintf("%.2f", each(f.files, before.files)), none, "")
}

func perSecond(n int, d time.Duration) string {
	return fmt.Sprintf("%.0f drives/s", float64(n)/d.Seconds())
}
