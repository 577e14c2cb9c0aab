package ipc

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// members cuts an interface description into its members, without comments and
// with single spaces: "type State (starting, mounted)" and so on.
func members(text string) []string {
	var code []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		code = append(code, strings.Fields(line)...)
	}
	one := strings.Join(code, " ")
	one = strings.NewReplacer("( ", "(", " )", ")").Replace(one)
	found := regexp.MustCompile(`\b(type|method|error) [A-Z]\w* ?\([^()]*\)( -> \([^()]*\))?`).FindAllString(one, -1)
	slices.Sort(found)
	return found
}

// described makes the same from the Go types.
type described struct{ found map[string]bool }

func (d *described) add(format string, args ...any) { d.found[fmt.Sprintf(format, args...)] = true }

// enums lists the values of string types that have few.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[State]():     {string(StateStarting), string(StateMounted), string(StateFailing), string(StateEnding)},
	reflect.TypeFor[EventKind](): {string(EventMounted), string(EventUnmounted), string(EventFailed)},
}

// fields describes a struct and whatever types it uses.
func (d *described) fields(t reflect.Type) string {
	var list []string
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		optional := ""
		if opts == "omitempty" {
			optional = "?"
		}
		list = append(list, name+": "+optional+d.typeName(f.Type))
	}
	return strings.Join(list, ", ")
}

func (d *described) typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return "object"
	case t == reflect.TypeFor[time.Time](), t == reflect.TypeFor[Path]():
		return "string"
	case enums[t] != nil:
		d.add("type %s (%s)", t.Name(), strings.Join(enums[t], ", "))
		return t.Name()
	}
	switch t.Kind() { //nolint:exhaustive // the rest are numbers
	case reflect.Pointer:
		return d.typeName(t.Elem())
	case reflect.Slice:
		return "[]" + d.typeName(t.Elem())
	case reflect.Struct:
		d.add("type %s (%s)", t.Name(), d.fields(t))
		return t.Name()
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	default:
		return "int"
	}
}

// TestDescription keeps io.isomount.varlink, the Go types, the handler and the
// tables the same.
func TestDescription(t *testing.T) {
	d := &described{found: map[string]bool{}}
	handler := reflect.TypeFor[Handler]()
	for m := range handler.Methods() {
		in := d.fields(m.Type.In(2).Elem())
		out := reflect.TypeFor[MonitorReply]()
		if m.Type.NumOut() == 2 {
			out = m.Type.Out(0).Elem()
		}
		d.add("method %s(%s) -> (%s)", m.Name, in, d.fields(out))
		if _, err := find(Interface + "." + m.Name); err != nil {
			t.Errorf("%s is not in the table of methods", m.Name)
		}
	}
	for _, k := range kinds {
		d.add("error %s (%s)", k.name, d.fields(reflect.TypeFor[errorParameters]()))
	}
	var want []string
	for s := range d.found {
		want = append(want, s)
	}
	slices.Sort(want)
	if diff := cmp.Diff(members(description), want); diff != "" {
		t.Errorf("io.isomount.varlink (-) and the Go types (+):\n%s", diff)
	}
	if got := handler.NumMethod() + 2; got != len(methods()) {
		t.Errorf("got %d methods in the handler and the service, %d in the table", got, len(methods()))
	}
}

// TestServiceDescription compares with the interface of the varlink project.
func TestServiceDescription(t *testing.T) {
	want := []string{
		"error ExpectedMore ()",
		"error InterfaceNotFound (interface: string)",
		"error InvalidParameter (parameter: string)",
		"error MethodNotFound (method: string)",
		"error MethodNotImplemented (method: string)",
		"error PermissionDenied ()",
		"method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)",
		"method GetInterfaceDescription(interface: string) -> (description: string)",
	}
	if diff := cmp.Diff(members(serviceDescription), want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}
