// Package tomlfile reads files in TOML, with no key passed over. Call [Read].
package tomlfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// bom is a byte order mark, which some editors of Windows write.
const bom = "\uFEFF"

// Read decodes the TOML in a file into v, which is a pointer to a struct. page
// is the manual page that describes the keys. The error names the file, and is
// an fs.ErrNotExist if there is none; one about the text names the line.
func Read(file string, v any, page string) error {
	text, err := os.ReadFile(file)
	if err == nil {
		text = bytes.TrimPrefix(text, []byte(bom))
		err = explain(toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v), page)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func explain(err error, page string) error {
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return fmt.Errorf("key %q is not known; see %s", name(&unknown.Errors[0]), page)
	}
	wrong, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return err
	}
	line, _ := wrong.Position()
	if key := name(wrong); key != "" {
		return fmt.Errorf("line %d, key %q: %w", line, key, err)
	}
	return fmt.Errorf("line %d: %w", line, err)
}

func name(e *toml.DecodeError) string { return strings.Join(e.Key(), ".") }
