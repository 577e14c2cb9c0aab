package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// none stands where there is nothing to measure.
const none = "–"

// A table is printed in Markdown, in columns that are straight in a terminal.
type table struct {
	title string
	rows  [][]string // the first is the head
}

func newTable(title string, head ...string) *table {
	return &table{title: title, rows: [][]string{head}}
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	fmt.Fprintf(w, "%s\n\n", t.title)
	for i, row := range t.rows {
		printRow(w, row, width)
		if i == 0 {
			printRule(w, width)
		}
	}
	fmt.Fprintln(w)
}

// printRow puts the first column to the left and the others to the right.
func printRow(w io.Writer, row []string, width []int) {
	for i, cell := range row {
		pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
		if i == 0 {
			fmt.Fprintf(w, "| %s%s |", cell, pad)
		} else {
			fmt.Fprintf(w, " %s%s |", pad, cell)
		}
	}
	fmt.Fprintln(w)
}

func printRule(w io.Writer, width []int) {
	for i, n := range width {
		if i == 0 {
			fmt.Fprint(w, "|", strings.Repeat("-", n+2), "|")
		} else {
			fmt.Fprint(w, strings.Repeat("-", n+1), ":|")
		}
	}
	fmt.Fprintln(w)
}

// milliseconds writes a time with three digits or more; 0 was not measured.
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case d == 0:
		return none
	case ms < 9.995:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 99.95:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// judge says whether a figure meets a goal.
func judge(got, goal float64) string {
	if got <= goal {
		return "met"
	}
	return "missed"
}

// shortest returns the least; 0 of none.
func shortest(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return slices.Min(times)
}

// median returns the middle one, or what lies between the two in the middle; 0
// of none.
func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// rate is in MiB a second.
func rate(bytes int64, d time.Duration) string {
	return fmt.Sprintf("%.0f MiB/s", float64(bytes)/(1<<20)/d.Seconds())
}
