package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// pieces gives a byte stream in pieces of given sizes.
func pieces(data, sizes []byte) func(b, oob []byte) (int, int, int, error) {
	return func(b, _ []byte) (int, int, int, error) {
		if len(data) == 0 {
			return 0, 0, 0, nil // end of file, as recvmsg reports it
		}
		n := len(data)
		if len(sizes) > 0 {
			n = min(n, int(sizes[0])+1)
			sizes = sizes[1:]
		}
		n = copy(b, data[:n])
		data = data[n:]
		return n, 0, 0, nil
	}
}

func readAll(r *reader) (got [][]byte, err error) {
	for {
		m, err := r.next()
		if err != nil {
			return got, err
		}
		got = append(got, m.text)
	}
}

func TestReader(t *testing.T) {
	tests := []struct {
		name  string
		data  string
		sizes []byte
		limit int
		want  []string
		err   error
	}{
		{"nothing", "", nil, 10, nil, io.EOF},
		{"two", "ab\x00c\x00", nil, 10, []string{"ab", "c"}, io.EOF},
		{"byte by byte", "ab\x00c\x00", []byte{0, 0, 0, 0, 0}, 10, []string{"ab", "c"}, io.EOF},
		{"empty", "\x00\x00", nil, 10, []string{"", ""}, io.EOF},
		{"half", "ab\x00c", nil, 10, []string{"ab"}, errHalf},
		{"at the limit", "0123456789\x00", nil, 10, []string{"0123456789"}, io.EOF},
		{"over the limit", "0123456789a\x00", []byte{10, 0}, 10, nil, errTooLong},
		{"over the limit, without end", string(make([]byte, 0)) + "0123456789abcdef", nil, 10, nil, errTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readAll(&reader{recv: pieces([]byte(tt.data), tt.sizes), limit: tt.limit})
			if !errors.Is(err, tt.err) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			var texts []string
			for _, b := range got {
				texts = append(texts, string(b))
			}
			if diff := cmp.Diff(texts, tt.want); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
		})
	}
}

// FuzzReader compares the reader with bytes.Split, whatever the pieces.
func FuzzReader(f *testing.F) {
	f.Add([]byte("ab\x00c\x00"), []byte{0, 1})
	f.Add([]byte("\x00\x00x"), []byte{})
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		got, err := readAll(&reader{recv: pieces(data, sizes), limit: 1 << 20})
		want := bytes.Split(data, []byte{0})
		tail := want[len(want)-1]
		want = want[:len(want)-1]
		if len(got) != len(want) {
			t.Fatalf("got %d messages, want %d", len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("message %d: got %q, want %q", i, got[i], want[i])
			}
		}
		if (len(tail) > 0) != errors.Is(err, errHalf) {
			t.Errorf("got %v with %q left", err, tail)
		}
	})
}

// FuzzCall decodes calls as the server does.
func FuzzCall(f *testing.F) {
	f.Add([]byte(`{"method":"io.isomount.Mount","parameters":{"image":"\udcff","mountpoint":"","made":true,"options":""}}`))
	f.Add([]byte(`{"method":"io.isomount.Eject","parameters":{"drive":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var q call
		if json.Unmarshal(text, &q) != nil {
			return
		}
		_, _ = find(q.Method)
		for _, v := range []any{&MountRequest{}, &EjectRequest{}, &ListRequest{}, &PingRequest{}} {
			err := decode(q.Parameters, v)
			if _, ok := errors.AsType[*serviceError](err); err != nil && !ok {
				t.Errorf("got %v, want a service error", err)
			}
		}
	})
}

func TestPath(t *testing.T) {
	tests := []struct {
		path Path
		want string
	}{
		{"/a", `"/a"`},
		{"/é€😀", `"/é€😀"`},
		{"\xff", `"\udcff"`},
		{"/a\x80b\xc3", `"/a\udc80b\udcc3"`},
		{"/a\"\\\n\xff", `"/a\"\\\n\udcff"`},
		{"\xed\xb3\xbf", `"\udced\udcb3\udcbf"`}, // a surrogate is not UTF-8
		{"\ufffd\xff", `"` + "\ufffd" + `\udcff"`},
	}
	for _, tt := range tests {
		b, err := json.Marshal(tt.path)
		if err != nil || string(b) != tt.want {
			t.Errorf("%q: got %s, %v, want %s", tt.path, b, err, tt.want)
		}
		var got Path
		if err := json.Unmarshal(b, &got); err != nil || got != tt.path {
			t.Errorf("%s: got %q, %v, want %q", b, got, err, tt.path)
		}
	}
}

// TestPathReads has what other programs may write.
func TestPathReads(t *testing.T) {
	tests := []struct {
		text string
		want Path
	}{
		{`"\ud83d\ude00"`, "😀"},
		{`"\ud83d\udcff"`, "\xf0\x9f\x93\xbf"}, // a pair, though its low half looks like a byte
		{`"\\udcff"`, `\udcff`},
		{`"\\\udcff"`, "\\\xff"},
		{`"\uDCFF\n"`, "\xff\n"},
		{`"\ud800"`, "\ufffd"},
		{`"\udc7f"`, "\ufffd"},
	}
	for _, tt := range tests {
		var got Path
		if err := json.Unmarshal([]byte(tt.text), &got); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	var p Path
	if err := json.Unmarshal([]byte(`5`), &p); err == nil {
		t.Error("a number was read as a path")
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/a\xffb\\udcff😀")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(Path(s))
		if err != nil || !utf8.Valid(b) {
			t.Fatalf("got %q, %v", b, err)
		}
		var got Path
		if err := json.Unmarshal(b, &got); err != nil || string(got) != s {
			t.Errorf("%s: got %q, %v, want %q", b, got, err, s)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	one := []byte(pingCall)
	data := bytes.Repeat(one, b.N)
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	b.ResetTimer()
	if got, err := readAll(&reader{recv: pieces(data, nil), limit: maxRequest}); !errors.Is(err, io.EOF) || len(got) != b.N {
		b.Fatalf("got %d messages, %v", len(got), err)
	}
}
