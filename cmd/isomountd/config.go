package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/isomount/isomount/pkg/tomlfile"
)

// A config is what flags and the configuration file can say. Flags win.
type config struct {
	Socket    string   `toml:"socket"`
	Cache     byteSize `toml:"cache"`
	MaxDrives int      `toml:"max-drives"`
	PerUser   int      `toml:"max-drives-per-user"`
	Deadline  duration `toml:"deadline"`
	IdleExit  duration `toml:"idle-exit"`
	NoResend  bool     `toml:"no-resend"`
	LogLevel  string   `toml:"log-level"`
	LogFormat string   `toml:"log-format"`
}

// maxDrives is how many drives a service manager can keep.
const maxDrives = 4096

func defaults() config {
	return config{
		Cache: 64 << 20, MaxDrives: maxDrives, PerUser: 64, Deadline: duration(30 * time.Second),
		LogLevel: "info", LogFormat: logAuto,
	}
}

// flags registers the flags of c with their defaults.
func (c *config) flags(f *pflag.FlagSet) {
	f.StringVar(&c.Socket, "socket", c.Socket, "listen on this Unix socket instead of the usual one")
	f.Var(&c.Cache, "cache", "memory for the sector cache of all drives, e.g. 64M")
	f.IntVar(&c.MaxDrives, "max-drives", c.MaxDrives, "drives that may exist at once")
	f.IntVar(&c.PerUser, "max-drives-per-user", c.PerUser, "drives that one user other than root may have")
	f.Var(&c.Deadline, "deadline", "answer EIO when an image takes longer than this, e.g. 30s")
	f.Var(&c.IdleExit, "idle-exit", "end after this time without drives; 0 never")
	f.BoolVar(&c.NoResend, "no-resend", c.NoResend, "do not ask the kernel to send requests again after a restart")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "auto, text, json or journal")
}

// loadFile reads the configuration file at path. A file that was not asked for
// may be missing.
func (c *config) loadFile(path string, asked bool) error {
	err := tomlfile.Read(path, c, "isomountd(8)")
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return nil
	}
	return err
}

// check rejects what makes no sense.
func (c *config) check() error {
	switch {
	case c.Cache < 1<<20:
		return fmt.Errorf("cache of %s: at least 1M is needed", c.Cache.String())
	case c.MaxDrives < 1 || c.PerUser < 1:
		return errors.New("max-drives and max-drives-per-user must be at least 1")
	case c.MaxDrives > maxDrives:
		return fmt.Errorf("max-drives: %d at most", maxDrives)
	case c.Deadline <= 0:
		return errors.New("deadline must be more than 0")
	case c.IdleExit < 0:
		return errors.New("idle-exit must not be negative")
	}
	return nil
}

// defaultFile is where the configuration is looked for. The system's service is
// not root: systemd names the directory, see ConfigurationDirectory= in
// systemd.exec(5).
func defaultFile() string {
	if dir := os.Getenv("CONFIGURATION_DIRECTORY"); dir != "" {
		return filepath.Join(dir, "isomountd.toml")
	}
	if os.Getuid() == 0 {
		return "/etc/isomount/isomountd.toml"
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "isomount", "isomountd.toml")
}

// A duration is a time.Duration that TOML and flags spell as "30s".
type duration time.Duration

// UnmarshalText reads "30s".
func (d *duration) UnmarshalText(b []byte) error { return d.Set(string(b)) }

// Set reads "30s", or "0".
func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("not a duration such as 30s")
	}
	*d = duration(v)
	return nil
}

func (d *duration) String() string { return time.Duration(*d).String() }

// Type names the value in --help.
func (d *duration) Type() string { return "duration" }

// A byteSize is a number of bytes, spelled with K, M or G for powers of 1024.
type byteSize int64

// UnmarshalText reads "64M".
func (b *byteSize) UnmarshalText(t []byte) error { return b.Set(string(t)) }

// Set reads "64M".
func (b *byteSize) Set(s string) error {
	digits, shift := s, 0
	if i := strings.IndexByte("KMGT", upper(s)); s != "" && i >= 0 {
		digits, shift = s[:len(s)-1], 10*(i+1)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return errors.New("not a size such as 64M")
	}
	*b = byteSize(n << shift)
	return nil
}

// upper is the last letter of s as a capital.
func upper(s string) byte {
	if s == "" {
		return 0
	}
	return strings.ToUpper(s)[len(s)-1]
}

func (b *byteSize) String() string {
	n, unit := int64(*b), 0
	for n != 0 && n%1024 == 0 && unit < 4 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatInt(n, 10) + []string{"", "K", "M", "G", "T"}[unit]
}

// Type names the value in --help.
func (b *byteSize) Type() string { return "size" }
