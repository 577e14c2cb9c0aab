package master

import (
	"fmt"
	"path"
	"strings"
)

// Match tells whether a slash-separated relative path matches a pattern of
// path.Match. A pattern without a slash is compared with the last element
// only; in one with a slash, "**" stands for any number of directories.
func Match(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		ok, err := path.Match(pattern, path.Base(name))
		return ok && err == nil
	}
	return matchElems(strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(name, "/"))
}

// matchElems keeps, like any glob, one place to come back to: that behind the
// last "**". So it takes time in proportion to the two lengths multiplied.
func matchElems(pattern, name []string) bool {
	p, n, backP, backN := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			p++
			backP, backN = p, n
		case p < len(pattern) && matchElem(pattern[p], name[n]):
			p++
			n++
		case backP >= 0:
			backN++
			p, n = backP, backN
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

func matchElem(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// checkPattern returns an error for a pattern that can match nothing because it
// is malformed.
func checkPattern(pattern string) error {
	for elem := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(elem, ""); err != nil {
			return fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	return nil
}
