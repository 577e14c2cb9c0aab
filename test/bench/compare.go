package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A comparison is all workloads on all mounts.
type comparison struct {
	*bench

	mounts []*mounted
	rings  bool // isomount over io_uring is among them
	size   int64
}

// compare prints how long each workload takes on each mount, and how isomount
// stands against its goals.
func (b *bench) compare() error {
	if err := b.makeImages(); err != nil {
		return err
	}
	c := &comparison{bench: b, size: int64(b.sizes.large) << 20}
	if err := c.mountAll(); err != nil {
		return err
	}
	head := []string{"workload"}
	for _, m := range c.mounts {
		head = append(head, m.name)
	}
	times := newTable(fmt.Sprintf("%d small files, %d empty ones in one directory, %d MiB of large ones; medians of up to %d rounds.",
		b.sizes.files, b.sizes.files/2, b.sizes.large, b.sizes.rounds), append(head, bare)...)
	goals := newTable("Ratios of these medians, against the goals.", "workload", "compared with", "goal", ours, "")
	if c.rings {
		goals.rows[0] = append(goals.rows[0], oursRing, "")
	}
	for _, load := range c.workloads() {
		if b.sizes.only != "" && b.sizes.only != load.name {
			continue
		}
		took, err := c.rounded(load)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		c.addTimes(times, load.name, took)
		c.addGoals(goals, load, took)
	}
	c.addMemory(times, goals)
	times.print(os.Stdout)
	fmt.Fprintf(os.Stdout, "%s\n\n", commands())
	goals.print(os.Stdout)
	return nil
}

// mountAll mounts what there is. isomount must work; a peer that does not is
// left out.
func (c *comparison) mountAll() error {
	d, err := c.startDaemon("daemon")
	if err != nil {
		return err
	}
	m, err := d.mount(ours, c.image("iso"))
	if err != nil {
		return err
	}
	c.mounts = append(c.mounts, m)
	if err := c.mountRing(); err != nil {
		return err
	}
	archive := c.fuse("archivemount", c.image("iso"), "-o", "ro")
	if archive != nil {
		archive.bound = 10 * time.Second // it goes through the archive for every read
	}
	for _, m := range []*mounted{
		c.nodes(c.image("iso")), c.fuse("fuseiso", c.image("iso")), c.fuse("squashfuse", c.image("squashfs")), archive,
		c.kernel("squashfs"), c.kernel("erofs"),
		c.other(host, c.path("tree"), "mount", "--bind", "-o", "ro"),
	} {
		if m != nil {
			c.mounts = append(c.mounts, m)
		}
	}
	return c.ctx.Err()
}

// mountRing mounts with the transport over io_uring if there is such a thing,
// served by a daemon of its own, so that memory can be compared.
func (c *comparison) mountRing() error {
	if !c.allowUring() {
		return nil
	}
	d, err := c.startDaemon("ring")
	if err != nil {
		return err
	}
	m, err := d.mount(oursRing, c.image("iso"), "transport=uring")
	if err != nil {
		c.say("left out: %v", err)
		return nil
	}
	c.mounts, c.rings = append(c.mounts, m), true
	return nil
}

// rounded gives the median time of a workload on each mount. The mounts take
// turns, so that a slow moment of the machine hits all of them.
func (c *comparison) rounded(load workload) (map[string]time.Duration, error) {
	c.say("%s", load.name)
	times := map[string][]time.Duration{}
	spent := map[string]time.Duration{}
	for round := range c.sizes.rounds {
		for _, m := range c.mounts {
			if spent[m.name] > c.sizes.spend || !m.copes(load) {
				continue
			}
			took, err := c.timed(load, m, round == 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			if took > 0 {
				times[m.name] = append(times[m.name], took)
				spent[m.name] += took
			}
		}
		if load.bare != nil {
			took, err := c.clock(load.cold, func() error { return load.bare(c.ctx, c.image("iso"), c.size) })
			if err != nil {
				return nil, err
			}
			times[bare] = append(times[bare], took)
		}
	}
	medians := map[string]time.Duration{}
	for name, t := range times {
		medians[name] = median(t)
	}
	return medians, nil
}

// timed runs a workload on a mount and returns the time, or 0 if a peer does
// not cope with it.
func (c *comparison) timed(load workload, m *mounted, first bool) (time.Duration, error) {
	run := func() error {
		ctx, cancel := context.WithTimeout(c.ctx, m.bound)
		defer cancel()
		return load.run(ctx, m.dir)
	}
	var err error
	if first && !load.cold {
		err = run() // to warm up
	}
	var took time.Duration
	if err == nil {
		took, err = c.clock(load.cold, run)
	}
	switch {
	case err == nil:
		return took, nil
	case c.ctx.Err() != nil || m.name == ours || m.name == oursRing:
		return 0, errors.Join(err, c.ctx.Err())
	}
	c.say("%s does not cope: %v", m.name, err)
	m.fails[load.name] = true
	return 0, nil
}

// copes tells whether it makes sense to try a workload.
func (m *mounted) copes(load workload) bool {
	const enough = 3
	return !m.fails[load.name] && len(m.fails) < enough && (load.name != onlyImage || m.name != host)
}

// clock measures f, cold if so desired.
func (b *bench) clock(cold bool, f func() error) (time.Duration, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if cold {
		if err := dropCaches(); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func (c *comparison) addTimes(t *table, name string, took map[string]time.Duration) {
	row := []string{name}
	for _, m := range c.mounts {
		row = append(row, milliseconds(took[m.name]))
	}
	t.add(append(row, milliseconds(took[bare]))...)
}

func (c *comparison) addGoals(t *table, load workload, took map[string]time.Duration) {
	for _, g := range load.goals {
		other := took[g.other]
		if other == 0 {
			continue // it is not installed
		}
		row := []string{load.name, g.other, fmt.Sprintf("≤ %.2f", g.most)}
		for _, name := range c.own() {
			ratio := float64(took[name]) / float64(other)
			row = append(row, fmt.Sprintf("%.2f", ratio), judge(ratio, g.most))
		}
		t.add(row...)
	}
}

// own names the columns that are ours.
func (c *comparison) own() []string {
	if c.rings {
		return []string{ours, oursRing}
	}
	return []string{ours}
}

// memoryGoal is how much memory of its own the daemon may have after all that,
// in KiB.
const memoryGoal = 16 << 10

func (c *comparison) addMemory(times, goals *table) {
	row := []string{"memory of its own after all that"}
	judged := []string{row[0], none, fmt.Sprintf("≤ %d MiB", memoryGoal>>10)}
	for _, m := range c.mounts {
		if m.pid == 0 {
			row = append(row, none)
			continue
		}
		kib := anonymous(m.pid)
		row = append(row, mebibytes(kib))
		if m.name == ours || m.name == oursRing {
			judged = append(judged, mebibytes(kib), judge(float64(kib), memoryGoal))
		}
	}
	times.add(append(row, none)...)
	goals.add(judged...)
}

// commands says what everybody can repeat.
func commands() string {
	return fmt.Sprintf("Walk is `%s`, reading every small file `%s`, grep `%s`, tar `%s`, each to /dev/null.",
		find, cat, grep, tar)
}

// groupOf has all processes of a pipeline ended when its context ends.
func groupOf(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
