package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Two stages, seconds apart: what a program reads of them, line by line.
func TestProgressJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := &app{err: &out}
		m := a.meter(progressJSON)
		m.start("read", 100)
		m.set(40)
		time.Sleep(1500 * time.Millisecond)
		m.add(60)
		time.Sleep(500 * time.Millisecond)
		m.start("write", 0)
		m.update(7, 70)
		m.close()
		m.close()
		var got []progressLine
		for dec := json.NewDecoder(&out); dec.More(); {
			var l progressLine
			if err := dec.Decode(&l); err != nil {
				t.Fatal(err)
			}
			got = append(got, l)
		}
		want := []progressLine{
			{Stage: "read", Done: 40, Total: 100, Rate: 40, Elapsed: 1, Remaining: 1.5},
			{Stage: "read", Done: 100, Total: 100, Rate: 50, Elapsed: 2, Finished: true},
			{Stage: "write", Done: 7, Total: 70, Finished: true},
		}
		// At two seconds the ticker and the next stage race for the last line.
		if len(got) == 4 && !got[1].Finished {
			got = append(got[:1], got[2:]...)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("lines (-got +want):\n%s", diff)
		}
	})
}

// A bar is wiped before anything else is written, and when it ends.
func TestProgressBarLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := &app{err: &out}
		m := a.meter(progressBar)
		m.start("read", 1<<30)
		m.set(1 << 29)
		time.Sleep(barEvery + time.Millisecond)
		m.printf(a, "note\n")
		time.Sleep(barEvery)
		m.close()
		const bar = "\rread  ["
		parts := strings.Split(out.String(), "\r\x1b[K")
		if len(parts) != 3 || !strings.HasPrefix(parts[0], bar) || !strings.HasPrefix(parts[1], "note\n"+bar) || parts[2] != "" {
			t.Errorf("got %q", out.String())
		}
	})
}

// Nothing is shown to what is no terminal, nor on request; short work flickers not.
func TestProgressQuiet(t *testing.T) {
	for _, mode := range []progressMode{progressAuto, progressNone, progressBar} {
		var out bytes.Buffer
		m := (&app{err: &out}).meter(mode)
		m.start("read", 10)
		m.set(1)
		m.add(1)
		m.update(3, 10)
		m.close()
		if out.Len() > 0 {
			t.Errorf("%s: got %q, want nothing", mode, out.String())
		}
	}
}

func TestBarText(t *testing.T) {
	for _, tt := range []struct {
		name  string
		line  progressLine
		width int
		want  string
	}{
		{"wide", progressLine{Stage: "write", Done: 1 << 29, Total: 1 << 30, Rate: 1 << 26, Remaining: 8}, 80, "write  [================                ]   50%  512M of 1.0G  64M/s  0:08 left"},
		{"no room for the bar", progressLine{Stage: "write", Done: 1, Total: 4, Rate: 1}, 38, "write   25%  1B of 4B  1B/s"},
		{"no room at all", progressLine{Stage: "write", Done: 1, Total: 4, Rate: 1}, 10, "write   2"},
		{"no total", progressLine{Stage: "read", Done: 2048, Rate: 1024}, 80, "read  2.0K  1.0K/s"},
		{"nothing to count", progressLine{Stage: "scan", Elapsed: 65}, 80, "scan  1:05"},
		{"more than there was", progressLine{Stage: "read", Done: 30, Total: 10}, 60, "read  [===========================]  100%  30B of 10B  0B/s"},
	} {
		got := barText(&tt.line, tt.width)
		if got != tt.want || len(got) >= tt.width {
			t.Errorf("%s: got %q of %d, want %q of less than %d", tt.name, got, len(got), tt.want, tt.width)
		}
	}
}

func TestClockText(t *testing.T) {
	for s, want := range map[float64]string{0.2: "0:00", 7: "0:07", 750: "12:30", 3723: "1:02:03", 1e12: "99:00:00"} {
		if got := clockText(s); got != want {
			t.Errorf("%v: got %s, want %s", s, got, want)
		}
	}
}

func TestProgressModeIsChecked(t *testing.T) {
	var p progressMode
	if err := p.Set("json"); err != nil || p != progressJSON {
		t.Errorf("json: got %q, error %v", p, err)
	}
	if err := p.Set("loud"); err == nil || p != progressJSON {
		t.Errorf("loud: got %q, error %v, want an error", p, err)
	}
}
