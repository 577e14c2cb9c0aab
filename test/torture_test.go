package test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kills is how often the daemon is killed; "make torture" sets it.
var kills = flag.Int("kills", 120, "SIGKILLs of TestKill, half of them without RESEND")

// tortureReaders is how many processes read meanwhile.
const tortureReaders = 8

// killsARound is how many kills a mount lives through: a fresh mount has fresh
// names to look up.
const killsARound = 500

// killsAtMost is how many kills there are before something must be answered.
const killsAtMost = 8

// Readers in other processes that check every byte do not notice that the
// daemon is killed again and again, whatever it is doing.
func TestKill(t *testing.T) {
	image := tortureImage(t)
	for name, flags := range map[string][]string{"with RESEND": {"--keep"}, "without RESEND": {"--keep", "--no-resend"}} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, 0, append(flags, "--log-level=error")...)
			began, ops, longest := time.Now(), 0, time.Duration(0)
			for left := *kills / 2; left > 0; left -= killsARound {
				point := d.mount(image)
				readers := startReaders(t, point)
				for i := range min(left, killsARound) {
					time.Sleep(time.Duration(rand.Int64N(int64(50 * time.Millisecond))))
					d.killChild()
					if i%killsAtMost == 0 { // on a busy machine none would live to answer
						awaitAnswer(t, point)
					}
				}
				for _, r := range readers.stop() {
					ops += r.Ops
					longest = max(longest, r.Longest)
				}
				if t.Failed() {
					break
				}
				d.must("unmount", point)
			}
			t.Logf("%d kills in %v; %d operations, the longest took %v", *kills/2, time.Since(began).Round(time.Second), ops, longest)
		})
	}
}

// awaitAnswer returns when somebody serves a mount.
func awaitAnswer(t *testing.T, point string) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(point, &st); err != nil {
		t.Errorf("statfs: %v", err)
	}
}

// tortureImage makes the image that readers check.
func tortureImage(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	if err := makeTortureTree(tree); err != nil {
		t.Fatal(err)
	}
	return imageOf(t, tree)
}

// readers are processes that check a mount.
type readers struct {
	t       *testing.T
	started []*exec.Cmd
	in      []io.Closer
	out     []*bytes.Buffer
}

func startReaders(t *testing.T, point string) *readers {
	t.Helper()
	rs := &readers{t: t}
	for range tortureReaders {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), readerVariable+"="+point, "GOMAXPROCS=2")
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, out
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		rs.started, rs.in, rs.out = append(rs.started, cmd), append(rs.in, in), append(rs.out, out)
	}
	return rs
}

// stop ends the readers, each of which must have seen nothing wrong and done
// something.
func (rs *readers) stop() (all []reading) {
	rs.t.Helper()
	for _, in := range rs.in {
		_ = in.Close()
	}
	for i, cmd := range rs.started {
		err := cmd.Wait()
		var r reading
		if jerr := json.Unmarshal(rs.out[i].Bytes(), &r); err != nil || jerr != nil || r.Wrong != "" || r.Ops == 0 {
			rs.t.Errorf("reader %d: %v, %v: %s", i, err, jerr, rs.out[i])
		}
		all = append(all, r)
	}
	return all
}

// child returns the process that serves for a daemon with --keep, or 0.
func (d *daemon) child() int {
	for _, pid := range d.children() {
		return pid
	}
	return 0
}

// children lists the processes of a daemon with --keep: while one is replaced
// there are two.
func (d *daemon) children() (pids []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	for _, file := range threads {
		b, _ := os.ReadFile(file)
		for word := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(word); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// killChild kills the process that serves, and waits for the next.
func (d *daemon) killChild() {
	d.t.Helper()
	var pid int
	within(d.t, 10*time.Second, "there is a daemon to kill", func() bool {
		pid = d.child()
		return pid != 0
	})
	_ = syscall.Kill(pid, syscall.SIGKILL)
	within(d.t, 10*time.Second, "another daemon goes on", func() bool { return d.child() != pid })
}
