package udf

import (
	"fmt"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"

	"github.com/isomount/isomount/pkg/fsys"
)

// charset returns the character set that IANA or the kernel call name, nil for
// UTF-8.
func charset(name string) (encoding.Encoding, error) {
	low := strings.ToLower(name)
	switch low {
	case "", "utf8", "utf-8":
		return nil, nil //nolint:nilnil // names are UTF-8 already
	case "sjis":
		low = "shift_jis"
	}
	if rest, ok := strings.CutPrefix(low, "iso8859-"); ok {
		low = "iso-8859-" + rest
	}
	if strings.HasPrefix(low, "cp125") {
		low = "windows-" + low[2:]
	}
	e, err := ianaindex.IANA.Encoding(low)
	if err != nil {
		return nil, fmt.Errorf("character set %q: %w", name, err)
	}
	if e == nil {
		return nil, fmt.Errorf("character set %q: %w", name, fsys.ErrNotSupported)
	}
	return e, nil
}
