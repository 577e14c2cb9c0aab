package udf

import (
	"time"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// A timestamp is a point in time with its zone (ECMA-167 1/7.3). It is valid
// only when ok.
type timestamp struct {
	fsys.Time
	zone int // minutes east of UTC
	ok   bool
}

func parseTimestamp(c *binfmt.Cursor) timestamp {
	kind := c.U16LE()        // RBP 0: type and zone
	year := int16(c.U16LE()) // RBP 2
	month := int(c.U8())
	day := int(c.U8())
	hour, minute, second := int64(c.U8()), int64(c.U8()), int64(c.U8())
	centi, hundred, micro := uint32(c.U8()), uint32(c.U8()), uint32(c.U8())
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return timestamp{}
	}
	t := timestamp{zone: zone(kind), ok: true}
	t.Sec = daysFrom1970(int64(year), month, day)*86400 + hour*3600 + minute*60 + second - int64(t.zone)*60
	// Some writers record bogus fractions; Linux drops them too.
	if centi < 100 && hundred < 100 && micro < 100 {
		t.Nsec = 1000 * (centi*10000 + hundred*100 + micro)
	}
	return t
}

// zone returns the minutes east of UTC, a signed 12-bit number. -2047 says
// that the zone is not known (ECMA-167 1/7.3.1).
func zone(kind uint16) int {
	if kind>>12 != 1 {
		return 0
	}
	z := int(int16(kind<<4) >> 4)
	if z < -1440 || z > 1440 {
		return 0
	}
	return z
}

// daysFrom1970 counts days of the proleptic Gregorian calendar. A day past
// the end of its month runs over into the next, as mktime does.
func daysFrom1970(year int64, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year
	if era < 0 {
		era -= 399
	}
	era /= 400
	ofEra := year - era*400                          // 0 to 399
	ofYear := int64((153*(month-3)+2)/5 + day - 1)   // days since 1 March
	days := ofEra*365 + ofEra/4 - ofEra/100 + ofYear // since 1 March of the era
	return era*146097 + days - 719468
}

// date gives the timestamp in its own zone, or the zero time.
func (t timestamp) date() time.Time {
	if !t.ok {
		return time.Time{}
	}
	loc := time.UTC
	if t.zone != 0 {
		loc = time.FixedZone("", t.zone*60)
	}
	return time.Unix(t.Sec, int64(t.Nsec)).In(loc)
}
