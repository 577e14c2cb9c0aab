package ipc

import (
	"context"
	_ "embed" // the interface descriptions
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
)

const serviceInterface = "org.varlink.service"

//go:embed io.isomount.varlink
var description string

//go:embed org.varlink.service.varlink
var serviceDescription string

// interfaces are what GetInfo and GetInterfaceDescription tell.
var interfaces = []struct{ name, description string }{
	{serviceInterface, serviceDescription},
	{Interface, description},
}

// A method is one line of the table of calls.
type method struct {
	name  string
	files int  // descriptors that come with the call
	more  bool // gives several replies
	run   func(ctx context.Context, s *Server, in *incoming) error
}

// An incoming is a call that is being answered.
type incoming struct {
	peer       Peer
	parameters json.RawMessage
	files      []*os.File
	send       func(parameters any, continues bool) error
}

// methods lists all calls. To add one: a line here, a method of [Handler] and
// of [Client], and its description in io.isomount.varlink.
func methods() []method {
	return []method{
		{name: serviceInterface + ".GetInfo", run: getInfo},
		{name: serviceInterface + ".GetInterfaceDescription", run: getDescription},
		{name: Interface + ".Ping", run: plain(Handler.Ping)},
		{name: Interface + ".Probe", files: 1, run: withFiles(Handler.Probe)},
		{name: Interface + ".Mount", files: 2, run: withFiles(Handler.Mount)},
		{name: Interface + ".Eject", run: plain(Handler.Eject)},
		{name: Interface + ".List", run: plain(Handler.List)},
		{name: Interface + ".Info", run: plain(Handler.Info)},
		{name: Interface + ".Stats", run: plain(Handler.Stats)},
		{name: Interface + ".Monitor", more: true, run: stream(Handler.Monitor)},
	}
}

// plain makes a line of the table of a method with one reply.
func plain[Q, R any](f func(Handler, context.Context, Peer, *Q) (*R, error)) func(context.Context, *Server, *incoming) error {
	return withFiles(func(h Handler, ctx context.Context, p Peer, q *Q, _ []*os.File) (*R, error) {
		return f(h, ctx, p, q)
	})
}

// withFiles does the same for a method that takes descriptors.
func withFiles[Q, R any](f func(Handler, context.Context, Peer, *Q, []*os.File) (*R, error)) func(context.Context, *Server, *incoming) error {
	return func(ctx context.Context, s *Server, in *incoming) error {
		q := new(Q)
		if err := decode(in.parameters, q); err != nil {
			return err
		}
		r, err := f(s.Handler, ctx, in.peer, q, in.files)
		if err != nil {
			return err
		}
		in.files = nil // the handler's
		fillEmpty(r)
		return in.send(r, false)
	}
}

// stream makes a line of the table of a method with many replies. It ends only
// with an error, or when the caller or the server ends it.
func stream[Q, R any](f func(Handler, context.Context, Peer, *Q, func(*R) error) error) func(context.Context, *Server, *incoming) error {
	return func(ctx context.Context, s *Server, in *incoming) error {
		q := new(Q)
		if err := decode(in.parameters, q); err != nil {
			return err
		}
		ctx, cancel := s.streaming(ctx)
		defer cancel()
		err := f(s.Handler, ctx, in.peer, q, func(r *R) error { return in.send(r, true) })
		if err == nil || ctx.Err() != nil {
			err = ErrStopping
		}
		return err
	}
}

// fillEmpty makes what a handler left nil in a reply an empty list or object:
// the interface has no null there.
func fillEmpty(v any) {
	s := reflect.ValueOf(v).Elem()
	for _, f := range s.Fields() {
		switch {
		case f.Kind() != reflect.Slice || !f.IsNil():
		case f.Type() == reflect.TypeFor[json.RawMessage]():
			f.SetBytes([]byte("{}"))
		default:
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		}
	}
}

func getInfo(_ context.Context, s *Server, in *incoming) error {
	if err := decode(in.parameters, &struct{}{}); err != nil {
		return err
	}
	var names []string
	for _, i := range interfaces {
		names = append(names, i.name)
	}
	return in.send(map[string]any{
		"vendor": "isomount", "product": "isomountd", "version": s.Version,
		"url": "https://github.com/isomount/isomount", "interfaces": names,
	}, false)
}

func getDescription(_ context.Context, _ *Server, in *incoming) error {
	var q struct {
		Interface string `json:"interface"`
	}
	if err := decode(in.parameters, &q); err != nil {
		return err
	}
	for _, i := range interfaces {
		if i.name == q.Interface {
			return in.send(map[string]string{"description": i.description}, false)
		}
	}
	return &serviceError{"InterfaceNotFound", "interface", q.Interface}
}

// find returns the method that a call names.
func find(name string) (*method, error) {
	for _, m := range methods() {
		if m.name == name {
			return &m, nil
		}
	}
	iface := name[:max(strings.LastIndexByte(name, '.'), 0)]
	for _, i := range interfaces {
		if i.name == iface {
			return nil, &serviceError{"MethodNotFound", "method", name}
		}
	}
	return nil, &serviceError{"InterfaceNotFound", "interface", iface}
}

// decode reads parameters into the struct that v points to. Unlike
// encoding/json it wants every field that is not optional and no other, and
// names in the right case.
func decode(parameters json.RawMessage, v any) error {
	given := map[string]json.RawMessage{}
	if len(parameters) > 0 {
		if err := json.Unmarshal(parameters, &given); err != nil {
			return invalidParameter("parameters")
		}
	}
	var known []string
	t := reflect.TypeOf(v).Elem()
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		raw, ok := given[name]
		if (!ok || string(raw) == "null") && opts != "omitempty" {
			return invalidParameter(name)
		}
		known = append(known, name)
	}
	for name := range given {
		if !slices.Contains(known, name) {
			return invalidParameter(name)
		}
	}
	return decodeFields(parameters, v)
}

func decodeFields(parameters json.RawMessage, v any) error {
	if len(parameters) == 0 {
		return nil
	}
	err := json.Unmarshal(parameters, v)
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalidParameter(te.Field)
	}
	if err != nil {
		return invalidParameter("parameters")
	}
	return nil
}
