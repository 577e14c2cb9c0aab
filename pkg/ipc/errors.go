package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
)

// What can go wrong with a call. Each has a name on the wire, see kinds.
var (
	ErrNotFound     = errors.New("not found")
	ErrBusy         = errors.New("busy")
	ErrPermission   = errors.New("permission denied")
	ErrNotAnImage   = errors.New("not a disc image")
	ErrDamaged      = errors.New("damaged")
	ErrEmpty        = errors.New("empty file")
	ErrUnsupported  = errors.New("not supported")
	ErrUsage        = errors.New("wrong usage")
	ErrLimitReached = errors.New("limit reached")
	ErrReadFailed   = errors.New("read failed")
	ErrTimedOut     = errors.New("timed out")
	ErrStopping     = errors.New("the daemon is stopping")
	ErrInternal     = errors.New("internal error")
	// ErrProtocol means that the two sides do not understand each other.
	ErrProtocol = errors.New("protocol error")
	// ErrNoDaemon means that nothing listens on the socket.
	ErrNoDaemon = errors.New("no daemon")
	// ErrHungUp means that the daemon went away before it had answered.
	ErrHungUp = errors.New("the daemon hung up")
)

// kinds is the table of errors that a handler may return. To add one: a line
// here, the same name in io.isomount.varlink, an exit code in the client.
// Causes are errors of the standard library that mean the same.
var kinds = []struct {
	name   string
	err    error
	causes []error
}{
	{"NotFound", ErrNotFound, []error{fs.ErrNotExist}},
	{"Busy", ErrBusy, []error{syscall.EBUSY}},
	{"Permission", ErrPermission, []error{fs.ErrPermission}},
	{"NotAnImage", ErrNotAnImage, nil},
	{"Damaged", ErrDamaged, []error{io.ErrUnexpectedEOF}},
	{"Empty", ErrEmpty, nil},
	{"Unsupported", ErrUnsupported, []error{errors.ErrUnsupported}},
	{"Usage", ErrUsage, []error{fs.ErrInvalid}},
	{"LimitReached", ErrLimitReached, []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}},
	{"ReadFailed", ErrReadFailed, []error{syscall.EIO}},
	{"TimedOut", ErrTimedOut, []error{context.DeadlineExceeded}},
	{"Stopping", ErrStopping, []error{context.Canceled}},
	{"Internal", ErrInternal, nil},
}

// An Error is what a call failed with, the same at both ends of the wire.
type Error struct {
	Err     error  // one of the above
	Message string // a sentence without its hint; default: that of Err
	Image   Path   // the file that it is about, or empty
	Offset  *int64 // byte in that file where the trouble lies, or nil
	Hint    string // what to do about it, or empty
}

func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = e.Err.Error()
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap gives the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the name of the error on the wire, such as "io.isomount.Busy".
func (e *Error) Code() string {
	for _, k := range kinds {
		if errors.Is(e.Err, k.err) {
			return Interface + "." + k.name
		}
	}
	return Interface + ".Internal"
}

// toError turns what a handler returned into an [Error].
func toError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e.Err != nil {
		return e
	}
	for _, k := range kinds {
		for _, cause := range append([]error{k.err}, k.causes...) {
			if errors.Is(err, cause) {
				return &Error{Err: k.err, Message: err.Error()}
			}
		}
	}
	return &Error{Err: ErrInternal, Message: err.Error()}
}

// errorParameters are those of every error of our interface.
type errorParameters struct {
	Message string `json:"message"`
	Image   Path   `json:"image,omitempty"`
	Offset  *int64 `json:"offset,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// reply makes the message that carries an error.
func (e *Error) reply() *reply {
	message := e.Message
	if message == "" {
		message = e.Err.Error()
	}
	return &reply{Error: e.Code(), Parameters: errorParameters{message, e.Image, e.Offset, e.Hint}}
}

// A serviceError is one of org.varlink.service: the call itself was wrong.
type serviceError struct {
	name      string // "MethodNotFound"
	parameter string // name of its parameter, if it has one
	value     string
}

func (e *serviceError) Error() string {
	return strings.TrimSpace(e.name + " " + e.value)
}

func (e *serviceError) reply() *reply {
	parameters := map[string]string{}
	if e.parameter != "" {
		parameters[e.parameter] = e.value
	}
	return &reply{Error: serviceInterface + "." + e.name, Parameters: parameters}
}

func invalidParameter(name string) error {
	return &serviceError{"InvalidParameter", "parameter", name}
}

// fromWire turns an error reply into an [Error].
func fromWire(code string, parameters json.RawMessage) error {
	if name, ok := strings.CutPrefix(code, Interface+"."); ok {
		for _, k := range kinds {
			if k.name == name {
				return decodeError(k.err, parameters)
			}
		}
	}
	return &Error{
		Err:     ErrProtocol,
		Message: "the daemon answered " + code + " " + string(parameters),
		Hint:    "client and daemon may be of different versions",
	}
}

func decodeError(kind error, parameters json.RawMessage) error {
	var p errorParameters
	if err := json.Unmarshal(parameters, &p); err != nil {
		return &Error{Err: kind}
	}
	return &Error{Err: kind, Message: p.Message, Image: p.Image, Offset: p.Offset, Hint: p.Hint}
}
