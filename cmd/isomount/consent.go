package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// Consents are what the user has decided about discs that want something to be
// run. They are kept in a file of the user, by the hash of the disc.
type consents struct {
	path string
	file consentFile
}

// A consentFile is the form of the file.
type consentFile struct {
	Version int                `json:"version"`
	Discs   map[string]consent `json:"discs"`
}

// A consent is one decision. Label, Action and Image are for people.
type consent struct {
	Decision string    `json:"decision"`
	Label    string    `json:"label"`
	Action   string    `json:"action"`
	Image    ipc.Path  `json:"image,omitempty"`
	Time     time.Time `json:"time"`
}

// Decisions.
const (
	consentAllow = "allow"
	consentDeny  = "deny"
)

const consentVersion = 1

// openConsents reads the file; there may be none yet. One that others can write
// to says nothing about what the user wants.
func openConsents() (*consents, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	c := &consents{path: filepath.Join(dir, "consent.json")}
	c.file = consentFile{Version: consentVersion, Discs: map[string]consent{}}
	return c, c.read()
}

func (c *consents) read() error {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s: others can write to it, so it is not trusted; look at it, then chmod go-w or remove it", c.path)
	}
	if err := json.NewDecoder(f).Decode(&c.file); err != nil {
		return fmt.Errorf("%s: %w; repair or remove it", c.path, err)
	}
	if c.file.Version != consentVersion {
		return fmt.Errorf("%s: version %d is not known; remove it", c.path, c.file.Version)
	}
	if c.file.Discs == nil {
		c.file.Discs = map[string]consent{}
	}
	return nil
}

// stateDir is where programs keep what they remember (XDG Base Directory
// Specification).
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "isomount"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "isomount"), err
}

// decision returns what was decided about a disc, "" if nothing.
func (c *consents) decision(hash string) string { return c.file.Discs[hash].Decision }

// record adds a decision.
func (c *consents) record(ctx context.Context, hash string, decided consent) error {
	return c.update(ctx, func(discs map[string]consent) error {
		decided.Time = time.Now().UTC().Truncate(time.Second)
		discs[hash] = decided
		return nil
	})
}

// update changes the decisions. The file is replaced as a whole; a lock keeps two
// programs from losing each other's changes.
func (c *consents) update(ctx context.Context, change func(map[string]consent) error) error {
	dir := filepath.Dir(c.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	c.file.Discs = map[string]consent{}
	if err := c.read(); err != nil {
		return err
	}
	if err := change(c.file.Discs); err != nil {
		return err
	}
	return c.write(ctx)
}

func (c *consents) write(ctx context.Context) error {
	text, err := json.MarshalIndent(&c.file, "", "  ")
	if err != nil {
		return err
	}
	return master.Create(ctx, c.path, func(f *os.File) error {
		if err := f.Chmod(0o600); err != nil {
			return err
		}
		if _, err := f.Write(append(text, '\n')); err != nil {
			return err
		}
		return f.Sync()
	})
}

const (
	// hashFiles is how many files a disc may have to be remembered.
	hashFiles = 1 << 20
	// hashBytes is how much content is part of the hash, the smallest files first:
	// programs are small, films are not.
	hashBytes = 256 << 20
)

// discHash computes what a decision is remembered by: a SHA-256 of what is to be
// done, of the whole tree with names, types, modes, sizes, times and targets of
// links, and of the content of the program and of the files. docs/adr/0006 says
// what that is good for.
func discHash(ctx context.Context, dir string, o *offer) (string, error) {
	h := &hasher{ctx: ctx, dir: dir, h: sha256.New()}
	h.field("isomount disc 1")
	h.field(o.file)
	for _, w := range o.words {
		onDisc, ok := strings.CutPrefix(w, dir+"/") // wherever it is mounted
		h.field(onDisc)
		if ok {
			if err := h.content(w); err != nil {
				return "", err
			}
		}
	}
	if err := h.tree(); err != nil {
		return "", err
	}
	if err := h.contents(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.h.Sum(nil)), nil
}

// A hasher computes the hash of a disc.
type hasher struct {
	ctx   context.Context //nolint:containedctx // a hasher lives for one call
	dir   string
	h     hash.Hash
	files []hashFile
}

type hashFile struct {
	path string
	size int64
}

// field adds a text of any bytes, so that no two lists of texts look the same.
func (h *hasher) field(s string) { fmt.Fprintf(h.h, "%d:%s,", len(s), s) }

// tree adds what is known of all files without reading them.
func (h *hasher) tree() error {
	n := 0
	return filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = h.ctx.Err()
		}
		if err != nil {
			return err
		}
		if n++; n > hashFiles {
			return fmt.Errorf("it has more than %d files", hashFiles)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h.field(strings.TrimPrefix(path, h.dir))
		h.field(fmt.Sprintf("%o %d %d", info.Mode(), info.Size(), info.ModTime().UnixNano()))
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			h.field(target)
			return err
		case info.Mode().IsRegular():
			h.files = append(h.files, hashFile{path, info.Size()})
		}
		return nil
	})
}

// contents adds what is in files, the smallest first, until it is enough.
func (h *hasher) contents() error {
	slices.SortStableFunc(h.files, func(a, b hashFile) int { return cmp.Compare(a.size, b.size) })
	left := int64(hashBytes)
	for _, f := range h.files {
		if left -= f.size; left < 0 {
			return nil
		}
		if err := h.content(f.path); err != nil {
			return err
		}
	}
	return nil
}

func (h *hasher) content(path string) error {
	if err := h.ctx.Err(); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	n, err := io.Copy(h.h, file)
	h.field(strconv.FormatInt(n, 10))
	return err
}
