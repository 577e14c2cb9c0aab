package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// A progressMode says how a long command tells how far it is: the value of
// --progress.
type progressMode string

// Modes. progressAuto shows a bar if standard error is a terminal, else nothing.
const (
	progressAuto progressMode = "auto"
	progressBar  progressMode = "bar"
	progressJSON progressMode = "json"
	progressNone progressMode = "none"
)

// progressFlag adds --progress to a command.
func progressFlag(c *cobra.Command) *progressMode {
	mode := progressAuto
	c.Flags().Var(&mode, "progress", "how far it is, on standard error: bar, json (lines of JSON), none, or auto:\na bar on a terminal")
	return &mode
}

// String implements pflag.Value.
func (p *progressMode) String() string { return string(*p) }

// Type implements pflag.Value.
func (*progressMode) Type() string { return "MODE" }

// Set implements pflag.Value.
func (p *progressMode) Set(s string) error {
	switch mode := progressMode(s); mode {
	case progressAuto, progressBar, progressJSON, progressNone:
		*p = mode
		return nil
	}
	return errors.New("not one of auto, bar, json, none")
}

const (
	barEvery  = 200 * time.Millisecond
	jsonEvery = time.Second
	// rateMemory is how long ago a speed counts half in the rate that is shown.
	rateMemory = 3 * time.Second
)

// A meter shows how far a long command is: its stages one after the other, and
// of each how many of how many bytes. Its methods may be called from any
// goroutine, and do nothing on a nil *meter, which is one that shows nothing.
//
//	m := a.meter(*mode)
//	defer m.close()
//	m.start("write", total)
//	m.set(done)
type meter struct {
	out   io.Writer
	show  func(m *meter, s *progressLine) // called with mu held
	stop  chan struct{}                   // closed by close
	ended sync.WaitGroup                  // the goroutine that shows it now and then

	mu      sync.Mutex // guards the fields below
	stage   string
	done    int64
	total   int64 // 0: unknown
	rate    float64
	began   time.Time // of the stage
	lastAt  time.Time // when rate was computed, and
	lastPos int64     // done at that time
	drawn   bool      // a bar is on the terminal's last line
	closed  bool
}

// A progressLine is a line of --progress=json. It is documented in isomount(1).
type progressLine struct {
	Stage     string  `json:"stage"`
	Done      int64   `json:"done"`                // bytes
	Total     int64   `json:"total,omitempty"`     // bytes; left out if unknown
	Rate      int64   `json:"rate"`                // bytes a second, lately
	Elapsed   float64 `json:"elapsed"`             // seconds since the stage began
	Remaining float64 `json:"remaining,omitempty"` // seconds, estimated; left out if unknown
	Finished  bool    `json:"finished"`            // last line of the stage
}

// meter returns a meter as --progress wants it.
func (a *app) meter(mode progressMode) *meter {
	m := &meter{out: a.err, stop: make(chan struct{})}
	every := barEvery
	switch {
	case mode == progressJSON:
		m.show, every = (*meter).showJSON, jsonEvery
	case mode == progressBar, mode == progressAuto && isTerminal(a.err):
		m.show = (*meter).showBar
	default:
		return nil
	}
	m.ended.Go(func() { m.run(every) })
	return m
}

// run shows the meter until it is closed: a ticker, so that work that stands
// still is seen to stand still.
func (m *meter) run(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case now := <-tick.C:
			m.mu.Lock()
			if m.stage != "" {
				m.show(m, m.line(now, false))
			}
			m.mu.Unlock()
		}
	}
}

// start ends the stage before and begins one; total is 0 if it is not known.
func (m *meter) start(stage string, total int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finish()
	now := time.Now()
	m.stage, m.done, m.total = stage, 0, total
	m.began, m.lastAt, m.lastPos, m.rate = now, now, 0, 0
}

// set tells how many bytes of the stage are done.
func (m *meter) set(done int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.done = done
	m.mu.Unlock()
}

// add tells that n more bytes are done.
func (m *meter) add(n int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.done += n
	m.mu.Unlock()
}

// update tells how many bytes of how many are done: a master.Progress.
func (m *meter) update(done, total int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.done, m.total = done, total
	m.mu.Unlock()
}

// printf writes a line to where the meter is shown, above the bar.
func (m *meter) printf(a *app, format string, args ...any) {
	if m == nil {
		fmt.Fprintf(a.err, format, args...)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wipe()
	fmt.Fprintf(a.err, format, args...)
}

// close ends the last stage and takes the bar away. It may be called twice.
func (m *meter) close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed = true
	m.finish()
	m.mu.Unlock()
	close(m.stop)
	m.ended.Wait()
}

func (m *meter) finish() {
	if m.stage != "" {
		m.show(m, m.line(time.Now(), true))
		m.stage = ""
	}
	m.wipe()
}

func (m *meter) wipe() {
	if m.drawn {
		fmt.Fprint(m.out, "\r\x1b[K")
		m.drawn = false
	}
}

// line computes what is shown.
func (m *meter) line(now time.Time, finished bool) *progressLine {
	elapsed := now.Sub(m.began).Seconds()
	if finished && elapsed > 0 {
		m.rate = float64(m.done) / elapsed
	} else {
		m.measure(now)
	}
	l := &progressLine{
		Stage: m.stage, Done: m.done, Total: m.total, Rate: int64(m.rate), Elapsed: elapsed, Finished: finished,
	}
	if left := m.total - m.done; left > 0 && m.rate >= 1 {
		l.Remaining = float64(left) / m.rate
	}
	return l
}

// measure brings the rate up to date: a mean in which the past fades.
func (m *meter) measure(now time.Time) {
	dt := now.Sub(m.lastAt)
	if dt <= 0 {
		return
	}
	speed := float64(m.done-m.lastPos) / dt.Seconds()
	weight := min(1, dt.Seconds()/rateMemory.Seconds())
	if m.rate == 0 {
		weight = 1
	}
	m.rate += (max(speed, 0) - m.rate) * weight
	m.lastAt, m.lastPos = now, m.done
}

func (m *meter) showJSON(l *progressLine) {
	text, err := json.Marshal(l)
	if err != nil {
		return // of numbers and a word there is none
	}
	fmt.Fprintf(m.out, "%s\n", text)
}

func (m *meter) showBar(l *progressLine) {
	if l.Finished {
		return // it is taken away at once
	}
	fmt.Fprintf(m.out, "\r%s\x1b[K", barText(l, terminalWidth(m.out)))
	m.drawn = true
}

// barText is the bar as one line that fits into a terminal.
func barText(l *progressLine, width int) string {
	var parts []string
	if l.Total == 0 && l.Done == 0 {
		return cutText(l.Stage+"  "+clockText(l.Elapsed), width) // nothing that has bytes to count
	}
	if l.Total > 0 {
		parts = append(parts, fmt.Sprintf("%3d%%", min(100, int64(float64(l.Done)*100/float64(l.Total)))),
			bytesText(l.Done)+" of "+bytesText(l.Total))
	} else {
		parts = append(parts, bytesText(l.Done))
	}
	parts = append(parts, bytesText(l.Rate)+"/s")
	if l.Remaining > 0 {
		parts = append(parts, clockText(l.Remaining)+" left")
	}
	text := strings.Join(parts, "  ")
	room := min(40, width-1-len(l.Stage)-len(text)-6) // two brackets, two gaps of two
	if l.Total > 0 && room >= 8 {
		full := min(room, int(float64(room)*float64(l.Done)/float64(l.Total)))
		text = "[" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]  " + text
	}
	return cutText(l.Stage+"  "+text, width)
}

// cutText shortens a line so that the cursor stays on it.
func cutText(s string, width int) string { return s[:max(0, min(len(s), width-1))] }

// clockText writes a duration as 0:07, 12:30 or 1:02:03.
func clockText(seconds float64) string {
	const most = 99 * 60 * 60
	s := int(min(seconds+0.5, most))
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// isTerminal tells whether somebody may be looking at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// terminalWidth returns the columns of a terminal, 80 if w is none.
func terminalWidth(w io.Writer) int {
	const usual = 80
	f, ok := w.(*os.File)
	if !ok {
		return usual
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return usual
	}
	return int(size.Col)
}
