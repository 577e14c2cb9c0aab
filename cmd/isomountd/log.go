package main

import (
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// Forms of the log.
const (
	logAuto    = "auto"
	logText    = "text"
	logJSON    = "json"
	logJournal = "journal"
)

// newLog returns a logger on stderr, and its level, which can be changed. Under systemd each line begins with the
// priority that the journal reads; otherwise it is for people.
func newLog(level, format string) (*zap.Logger, zap.AtomicLevel, error) {
	l, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, l, fmt.Errorf("--log-level %q is not debug, info, warn or error", level)
	}
	if format == logAuto {
		format = logText
		if stderrIsJournal() {
			format = logJournal
		}
	}
	enc, err := newEncoder(format)
	if err != nil {
		return nil, l, err
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(os.Stderr), l)), l, nil
}

func newEncoder(format string) (zapcore.Encoder, error) {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339TimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	switch format {
	case logJSON:
		return zapcore.NewJSONEncoder(c), nil
	case logText:
		c.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		c.ConsoleSeparator = " "
		return zapcore.NewConsoleEncoder(c), nil
	case logJournal:
		c.TimeKey, c.LevelKey = "", ""
		c.ConsoleSeparator = " "
		return &journalEncoder{zapcore.NewConsoleEncoder(c)}, nil
	}
	return nil, fmt.Errorf("--log-format %q is not auto, text, json or journal", format)
}

// A journalEncoder puts the priority of sd-daemon(3) before each line.
type journalEncoder struct{ zapcore.Encoder }

func (e *journalEncoder) Clone() zapcore.Encoder { return &journalEncoder{e.Encoder.Clone()} }

func (e *journalEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	b, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("<%d>%s", priority(entry.Level), b.String())
	b.Reset()
	b.AppendString(line)
	return b, nil
}

// priority is the syslog(3) priority of a level.
func priority(l zapcore.Level) int {
	switch {
	case l >= zapcore.DPanicLevel:
		return 2
	case l == zapcore.ErrorLevel:
		return 3
	case l == zapcore.WarnLevel:
		return 4
	case l == zapcore.InfoLevel:
		return 6
	}
	return 7
}

// stderrIsJournal tells whether stderr is the stream that systemd connected to
// the journal: JOURNAL_STREAM holds its device and inode, see systemd.exec(5).
func stderrIsJournal() bool {
	var st unix.Stat_t
	if unix.Fstat(int(os.Stderr.Fd()), &st) != nil {
		return false
	}
	return strings.TrimSpace(os.Getenv("JOURNAL_STREAM")) == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
