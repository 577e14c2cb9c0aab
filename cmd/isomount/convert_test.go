package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/image"
	"github.com/isomount/isomount/pkg/isofs"
	"github.com/isomount/isomount/pkg/isofs/master"
	"github.com/isomount/isomount/pkg/volume"
)

// A disc is made anew only where a copy would not show what mount shows.
func TestConvertReason(t *testing.T) {
	one, two := &disc{image: &image.Disc{Sessions: make([]image.Session, 1)}}, &disc{image: &image.Disc{Sessions: make([]image.Session, 2)}}
	for _, tt := range []struct {
		name string
		job  convertJob
		disc *disc
		want string
	}{
		{"a plain disc", convertJob{}, one, ""},
		{"on request", convertJob{rebuild: true}, one, "asked for"},
		{"with options", convertJob{options: "norock"}, one, "options choose what is shown"},
		{"several sessions", convertJob{}, two, "the disc has 2 sessions"},
	} {
		if got := tt.job.reason(tt.disc); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What the disc says of itself is what its copy says; fields that are too long
// in the old one are cut.
func TestConvertKeepsDescriptor(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	d := &disc{volume: &volume.Volume{Report: volume.Report{Label: "LABEL", Details: volume.Details{ISO: &isofs.Info{Descriptors: []isofs.Descriptor{
		{Kind: isofs.DescriptorJoliet, Publisher: "other"},
		{Kind: isofs.DescriptorPrimary, Publisher: "publisher", Application: string(bytes.Repeat([]byte("x"), 200)), Created: "2001-02-03T04:05:06Z"},
	}}}}}}
	got, err := new(convertJob).volumeOf(d)
	if err != nil {
		t.Fatal(err)
	}
	if got.Date.Unix() != 981173106 || got.Reproducible {
		t.Errorf("got date %v, want that of the disc", got.Date)
	}
	got.Date = got.Date.UTC()
	want := master.Options{VolumeID: "LABEL", PublisherID: "publisher", ApplicationID: string(bytes.Repeat([]byte("x"), 128)), Date: got.Date}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("options (-got +want):\n%s", diff)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	if got, err := new(convertJob).volumeOf(d); err != nil || got.Date.Unix() != 86400 || !got.Reproducible {
		t.Errorf("with SOURCE_DATE_EPOCH: got %v, error %v", got.Date, err)
	}
}

func TestCopyRange(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 200_000)
	var out bytes.Buffer
	if err := copyRange(t.Context(), &out, bytes.NewReader(data), int64(len(data)), nil); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("copied %d bytes of %d, error %v", out.Len(), len(data), err)
	}
	if err := copyRange(t.Context(), io.Discard, bytes.NewReader(data), int64(len(data))+1, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("image that is too short: got error %v", err)
	}
	if err := copyRange(t.Context(), io.Discard, &holes{bytes.NewReader(data), [][2]int64{{5000, 6000}}}, int64(len(data)), nil); !errors.Is(err, errHole) {
		t.Errorf("image that cannot be read: got error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := copyRange(ctx, io.Discard, bytes.NewReader(data), int64(len(data)), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
}
