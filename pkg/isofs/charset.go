package isofs

// An encoder writes characters in a character set other than UTF-8.
type encoder struct{}

func (e *encoder) appendRune(dst []byte, r rune) []byte { return append(dst, '?') }

type charset struct{}

func newCharset(name string, k Kind) (*charset, error) { return nil, nil }

func (c *charset) decode(dst, b []byte) []byte { return append(dst, b...) }

func (c *charset) decodeFrom(b []byte, at int) []byte { return b }

func (c *charset) encoder() *encoder { return nil }
