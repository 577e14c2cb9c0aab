package master

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
	"unicode/utf8"
)

// ErrOption reports options that cannot be fulfilled.
var ErrOption = errors.New("option")

// systemArea is what lies before the volume descriptors (ECMA-119 6.2.1).
const systemArea = 16 * blockSize

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		field *string
		value string
	}{{&o.VolumeID, "CDROM"}, {&o.SystemID, "LINUX"}, {&o.ApplicationID, "ISOMOUNT"}} {
		if *f.field == "" {
			*f.field = f.value
		}
	}
	if o.Date.IsZero() {
		o.Date = time.Now()
	}
	for _, date := range []*time.Time{&o.Modified, &o.Effective} {
		if date.IsZero() {
			*date = o.Date
		}
	}
	return o
}

// check returns an error for what would otherwise be cut or left out in silence.
func (o *Options) check(t *Tree) error {
	for _, f := range []struct {
		name, text string
		most       int // characters
	}{
		{"volume id", o.VolumeID, 32},
		{"system id", o.SystemID, 32},
		{"volume set id", o.VolumeSetID, 128},
		{"publisher id", o.PublisherID, 128},
		{"preparer id", o.PreparerID, 128},
		{"application id", o.ApplicationID, 128},
	} {
		if n := utf8.RuneCountInString(f.text); n > f.most {
			return fmt.Errorf("%w: %s of %d characters, %d fit", ErrOption, f.name, n, f.most)
		}
	}
	for _, name := range []string{o.CopyrightFile, o.AbstractFile, o.BiblioFile} {
		if n := t.root.Child(name); name != "" && (n == nil || !n.IsRegular()) {
			return &fs.PathError{Op: "describe volume", Path: "/" + name, Err: fs.ErrNotExist}
		}
	}
	switch {
	case len(o.SystemArea) > systemArea:
		return fmt.Errorf("%w: system area of %d bytes, %d fit", ErrOption, len(o.SystemArea), systemArea)
	case o.MD5 && o.NoRockRidge:
		return fmt.Errorf("%w: checksums are kept in Rock Ridge attributes", ErrOption)
	case o.UDF != 0 && o.UDF != UDF102 && o.UDF != UDF201:
		return fmt.Errorf("%w: UDF revision %x.%02x is not written", ErrOption, uint16(o.UDF)>>8, uint16(o.UDF)&0xFF)
	}
	return nil
}
