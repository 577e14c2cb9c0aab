package isofs

import (
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
)

func unix(s string) fsys.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fsys.Time{Sec: -1, Nsec: 1}
	}
	return fsys.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

func TestRecordDate(t *testing.T) {
	signed := func(v int8) byte { return byte(v) }
	for _, tt := range []struct {
		name string
		in   []byte
		want string // empty: no date
	}{
		{"usual", []byte{101, 1, 2, 3, 4, 5, 0}, "2001-01-02T03:04:05Z"},
		{"east", []byte{101, 1, 1, 12, 0, 0, 52}, "2000-12-31T23:00:00Z"},
		{"west", []byte{101, 1, 1, 12, 0, 0, signed(-48)}, "2001-01-02T00:00:00Z"},
		{"half an hour", []byte{101, 1, 1, 12, 0, 0, 22}, "2001-01-01T06:30:00Z"},
		{"zone of no place", []byte{101, 1, 1, 12, 0, 0, 100}, "2001-01-01T12:00:00Z"},
		{"before 1970", []byte{0, 1, 1, 0, 0, 0, 0}, "1900-01-01T00:00:00Z"},
		{"after 2038", []byte{255, 12, 31, 23, 59, 59, 0}, "2155-12-31T23:59:59Z"},
		{"leap day", []byte{100, 2, 29, 12, 0, 0, 0}, "2000-02-29T12:00:00Z"},
		{"leap second", []byte{98, 12, 31, 23, 59, 60, 0}, "1999-01-01T00:00:00Z"},
		{"High Sierra", []byte{86, 1, 2, 3, 4, 5}, "1986-01-02T03:04:05Z"},
		{"not set", make([]byte, 7), ""},
		{"no leap day in 1900", []byte{0, 2, 29, 0, 0, 0, 0}, ""},
		{"February 30", []byte{101, 2, 30, 0, 0, 0, 0}, ""},
		{"month 13", []byte{101, 13, 1, 0, 0, 0, 0}, ""},
		{"day 0", []byte{101, 2, 0, 0, 0, 0, 0}, ""},
		{"hour 24", []byte{101, 1, 1, 24, 0, 0, 0}, ""},
		{"minute 60", []byte{101, 1, 1, 0, 60, 0, 0}, ""},
		{"second 61", []byte{101, 1, 1, 0, 0, 61, 0}, ""},
		{"cut short", []byte{101, 1, 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := recordDate(tt.in)
			if ok != (tt.want != "") || ok && got != unix(tt.want) {
				t.Errorf("got %v, %t, want %s", got, ok, tt.want)
			}
		})
	}
}

func TestLongDate(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"usual", "2001010203040567\x00", "2001-01-02T03:04:05.67Z"},
		{"zone", "2001010203040500\x04", "2001-01-02T02:04:05Z"},
		{"not set", "0000000000000000\x00", ""},
		{"letters", "NOTADATE20012001\x00", ""},
		{"blanks", "                \x00", ""},
		{"nines", "9999999999999999\x00", ""},
		{"cut short", "20010102", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in
			if len(in) == 17 {
				in = in[:16] + in[16:]
			}
			got, ok := longDate([]byte(in))
			if ok != (tt.want != "") || ok && got != unix(tt.want) {
				t.Errorf("got %v, %t, want %s", got, ok, tt.want)
			}
		})
	}
}

// Days are counted as package time counts them.
func TestDaysTo(t *testing.T) {
	for year := 1; year < 2500; year++ {
		for month := 1; month <= 12; month++ {
			first := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC)
			if got, want := int64(daysTo(year, month)), first.Unix()/86400; got != want {
				t.Fatalf("%d-%02d: got day %d, want %d", year, month, got, want)
			}
			if got, want := daysIn(year, month), first.AddDate(0, 1, -1).Day(); got != want {
				t.Fatalf("%d-%02d: got %d days, want %d", year, month, got, want)
			}
		}
	}
}
