package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sumFiles are where the SHA-256 of an image may stand beside it.
func sumFiles(image string) []string {
	dir := filepath.Dir(image)
	return []string{
		image + ".sha256", image + ".sha256sum", image + ".SHA256", filepath.Join(dir, "SHA256SUMS"),
		filepath.Join(dir, "sha256sums.txt"), filepath.Join(dir, "sha256sum.txt"), filepath.Join(dir, "CHECKSUM"),
	}
}

// besideSum looks for a file beside an image that tells its SHA-256. want is
// nil if there is none.
func besideSum(image string) (want []byte, from string, err error) {
	for _, name := range sumFiles(image) {
		sum, err := sumFromFile(name, filepath.Base(image))
		switch {
		case err == nil:
			return sum, name, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, name, err
		}
	}
	return nil, "", nil
}

// givenSum reads what --sha256 was given: a sum, or a file that tells it.
func givenSum(given, image string) (want []byte, from string, err error) {
	if sum, err := hex.DecodeString(given); err == nil && len(sum) == sha256.Size {
		return sum, "as given", nil
	}
	want, err = sumFromFile(given, filepath.Base(image))
	if errors.Is(err, fs.ErrNotExist) && strings.Trim(given, "0123456789abcdefABCDEF") == "" {
		err = usagef("--sha256=%s: neither 64 hexadecimal digits nor a file", given)
	}
	return want, given, err
}

var errNotListed error = &worded{"the image is not listed in it: file does not exist", fs.ErrNotExist}

// sumFromFile reads the SHA-256 of a file from the output of sha256sum(1), plain
// or with --tag. One sum without a name is taken for any file's.
func sumFromFile(name, image string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	sum, err := findSum(f, image)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return sum, errors.Join(err, f.Close())
}

func findSum(r io.Reader, image string) ([]byte, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, name := splitSum(strings.TrimSpace(lines.Text()))
		sum, err := hex.DecodeString(text)
		if err != nil || len(sum) != sha256.Size {
			continue
		}
		if name == "" || filepath.Base(name) == image {
			return sum, nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, errNotListed
}

// splitSum reads "sum  name", "sum *name" or "SHA256 (name) = sum".
func splitSum(line string) (sum, name string) {
	if rest, ok := strings.CutPrefix(line, "SHA256 ("); ok {
		if i := strings.LastIndex(rest, ") = "); i >= 0 {
			return rest[i+4:], rest[:i]
		}
	}
	sum, name, _ = strings.Cut(line, " ")
	return sum, strings.TrimPrefix(strings.TrimLeft(name, " "), "*")
}
