package master

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// ParseSource reads a source as it is given on a command line: a path, or
// "TARGET=PATH" to place it elsewhere. A backslash takes the meaning from an
// equals sign or another backslash.
func ParseSource(s string) Source {
	target, rest, graft := cutUnescaped(s)
	if !graft {
		return Source{Path: target}
	}
	path, _, _ := cutUnescaped(strings.ReplaceAll(rest, "=", `\=`))
	if target == "" {
		target = "/"
	}
	return Source{Path: path, Target: target}
}

// cutUnescaped cuts s at the first equals sign that has no backslash before it,
// and takes the backslashes from what is before.
func cutUnescaped(s string) (before, after string, found bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '=':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '=' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), "", false
}

// maxListed is the longest line of a list.
const maxListed = 64 << 10

// ReadSources reads a list of sources, one a line, or ended by zero bytes. Each
// is taken by itself, not with what a directory holds, and keeps its path
// in the image: so the output of find(1) makes the tree that it lists.
func ReadSources(r io.Reader, zero bool) ([]Source, error) {
	end := byte('\n')
	if zero {
		end = 0
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxListed)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, end); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	var list []Source
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		src, err := listed(lines.Text())
		if err != nil {
			return nil, err
		}
		list = append(list, src)
	}
	return list, lines.Err()
}

// listed makes a source of a path in a list.
func listed(name string) (Source, error) {
	target := strings.TrimLeft(path.Clean(name), "/")
	if target == ".." || strings.HasPrefix(target, "../") {
		return Source{}, fmt.Errorf("%s: path leads out of the image: %w", name, fs.ErrInvalid)
	}
	if target == "." {
		target = ""
	}
	return Source{Path: name, Target: "/" + target, Shallow: true}, nil
}
