package isofs

import "github.com/isomount/isomount/pkg/fsys"

const quarterHour = 15 * 60 // seconds: the unit of time zones

// recordDate reads the date of a directory record (ECMA-119 9.1.5): years since
// 1900, month, day, hour, minute, second and, except in High Sierra, the zone.
// It reports false for a date that is not set or cannot be.
func recordDate(b []byte) (fsys.Time, bool) {
	if len(b) < 6 {
		return fsys.Time{}, false
	}
	zone := 0
	if len(b) > 6 {
		zone = int(int8(b[6]))
	}
	return makeTime(1900+int(b[0]), int(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]), zone)
}

// longDate reads the date of a volume descriptor (ECMA-119 8.4.26.1): sixteen
// digits YYYYMMDDhhmmsscc and, except in High Sierra, the zone. Rock Ridge's
// long time stamps have the same form.
func longDate(b []byte) (fsys.Time, bool) {
	if len(b) < 16 {
		return fsys.Time{}, false
	}
	var field [8]int
	for i, c := range b[:16] {
		if c < '0' || c > '9' {
			return fsys.Time{}, false
		}
		field[i/2] = field[i/2]*10 + int(c-'0')
	}
	zone := 0
	if len(b) > 16 {
		zone = int(int8(b[16]))
	}
	t, ok := makeTime(field[0]*100+field[1], field[2], field[3], field[4], field[5], field[6], zone)
	t.Nsec = uint32(field[7]) * 10_000_000
	return t, ok
}

// makeTime puts a date together. Zones are quarter hours east of Greenwich; one
// that no place on earth has is taken as zero, as Linux does. The sixtieth
// second is a leap second.
func makeTime(year, month, day, hour, minute, second, zone int) (fsys.Time, bool) {
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 {
		return fsys.Time{}, false
	}
	if zone < -52 || zone > 52 {
		zone = 0
	}
	sec := ((daysTo(year, month)+day-1)*24+hour)*3600 + minute*60 + second - zone*quarterHour
	return fsys.Time{Sec: int64(sec)}, true
}

// monthStart has the days of a common year before each month.
var monthStart = [...]int{0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365}

func isLeap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(year, month int) int {
	n := monthStart[month] - monthStart[month-1]
	if month == 2 && isLeap(year) {
		n++
	}
	return n
}

// daysTo returns the days from 1970-01-01 to the first of a month. It is a good
// part of what reading a record costs; package time takes three times as long.
func daysTo(year, month int) int {
	before := year - 1
	days := before*365 + before/4 - before/100 + before/400 - 719162
	if month > 2 && isLeap(year) {
		days++
	}
	return days + monthStart[month-1]
}
