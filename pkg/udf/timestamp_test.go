package udf

import (
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/binfmt"
)

func TestTimestamps(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want time.Time // zero: not valid
	}{
		{"UTC", stamp(0x1000, 2001, 1, 1, 0, 0, 1, 0, 0, 0), time.Date(2001, 1, 1, 0, 0, 1, 0, time.UTC)},
		{"microseconds", stamp(0x1000, 2001, 1, 1, 0, 0, 1, 12, 34, 56), time.Date(2001, 1, 1, 0, 0, 1, 123456000, time.UTC)},
		{"bogus fraction", stamp(0x1000, 2001, 1, 1, 0, 0, 1, 12, 100, 56), time.Date(2001, 1, 1, 0, 0, 1, 0, time.UTC)},
		{"east", stamp(0x1000|60, 2001, 1, 1, 0, 0, 1, 0, 0, 0), time.Date(2000, 12, 31, 23, 0, 1, 0, time.UTC)},
		{"west", stamp(0x1fff-299, 2001, 1, 1, 0, 0, 0, 0, 0, 0), time.Date(2001, 1, 1, 5, 0, 0, 0, time.UTC)},
		{"zone not known", stamp(0x1801, 2001, 1, 1, 0, 0, 0, 0, 0, 0), time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"zone of another type", stamp(0x2000|60, 2001, 1, 1, 0, 0, 0, 0, 0, 0), time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"before 1970", stamp(0x1000, 1601, 2, 28, 23, 59, 59, 0, 0, 0), time.Date(1601, 2, 28, 23, 59, 59, 0, time.UTC)},
		{"year 9999", stamp(0x1000, 9999, 12, 31, 23, 59, 59, 0, 0, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"leap day", stamp(0x1000, 2000, 2, 29, 0, 0, 0, 0, 0, 0), time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)},
		{"leap second", stamp(0x1000, 2016, 12, 31, 23, 59, 60, 0, 0, 0), time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"zeros", make([]byte, 12), time.Time{}},
		{"month 13", stamp(0x1000, 2001, 13, 1, 0, 0, 0, 0, 0, 0), time.Time{}},
		{"day 0", stamp(0x1000, 2001, 1, 0, 0, 0, 0, 0, 0, 0), time.Time{}},
		{"hour 24", stamp(0x1000, 2001, 1, 1, 24, 0, 0, 0, 0, 0), time.Time{}},
		{"cut short", []byte{0, 0x10, 0xd1, 7, 1}, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := binfmt.At(tt.b, 0)
			got := parseTimestamp(&c)
			if got.ok != !tt.want.IsZero() {
				t.Fatalf("valid = %v, want %v", got.ok, !tt.want.IsZero())
			}
			if !got.date().Equal(tt.want) {
				t.Errorf("date = %v, want %v", got.date(), tt.want)
			}
		})
	}
}

func TestDaysFrom1970(t *testing.T) {
	for day := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC); day.Year() < 2110; day = day.AddDate(0, 0, 1) {
		got := daysFrom1970(int64(day.Year()), int(day.Month()), day.Day())
		if want := day.Unix() / 86400; got != want {
			t.Fatalf("days to %v = %d, want %d", day, got, want)
		}
	}
}

// stamp makes a timestamp (ECMA-167 1/7.3).
func stamp(kind, year uint16, rest ...byte) []byte {
	return append([]byte{byte(kind), byte(kind >> 8), byte(year), byte(year >> 8)}, rest...)
}
