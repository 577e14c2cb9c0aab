package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/binfmt"
)

func verifyCommand(a *app) *cobra.Command {
	j := &verifyJob{app: a}
	c := &cobra.Command{
		Use:   "verify IMAGE [--sha256 SUM|FILE] [--against DIR]",
		Short: "Check that a disc image is whole",
		Long: `Check a disc image: that every sector can be read, that every tree on it can
be read to its last directory, and that everything is what the checksums say
which are found on it or beside it:

  isomd5sum  what implantisomd5 writes, on the discs of many distributions
  libisofs   the tags and file checksums that xorriso writes with -md5 on
  sha256     --sha256, or IMAGE.sha256, SHA256SUMS and the like beside the image

What is wrong is told by the files that it hits.`,
		Example: `  isomount verify debian.iso
  isomount verify debian.iso --sha256 SHA256SUMS
  isomount verify /dev/sr0 --progress=json --json
  isomount verify backup.iso --against ~/photos`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words[0]) },
	}
	f := c.Flags()
	f.StringVar(&j.sha256, "sha256", "", "the SHA-256 that the image must have, or a `SUM|FILE` that tells it")
	f.StringVar(&j.against, "against", "", "compare the names and contents of the disc with this `DIR`")
	f.StringVarP(&j.options, "options", "o", "", "mount `OPTIONS`, separated by commas, that choose the tree to compare")
	f.BoolVar(&j.json, "json", false, "print the result as JSON")
	j.progress = progressFlag(c)
	return c
}

// Names of checks, in the order in which they are told.
const (
	checkSectors   = "sectors"
	checkStructure = "structure"
	checkISOMD5    = "isomd5sum"
	checkLibisofs  = "libisofs"
	checkSHA256    = "sha256"
	checkAgainst   = "against"
)

var checkOrder = []string{checkSectors, checkStructure, checkISOMD5, checkLibisofs, checkSHA256, checkAgainst}

// Results of a check.
const (
	resultOK     = "ok"
	resultFailed = "failed"
	resultAbsent = "absent" // there is nothing to compare with
)

// A checkResult says what a check came to.
type checkResult struct {
	Check  string `json:"check"`
	Result string `json:"result"`
	Detail string `json:"detail"`
}

// A problem is something that is wrong.
type problem struct {
	Check  string `json:"check"`
	Path   string `json:"path,omitempty"`   // of the file that it hits
	Tree   string `json:"tree,omitempty"`   // that the path is in, if not in the one that is shown
	Offset int64  `json:"offset,omitempty"` // of the first byte in the image, 0 if not known
	Bytes  int64  `json:"bytes,omitempty"`  // how many are concerned
	Error  string `json:"error"`
}

func (p *problem) String() string {
	where := ""
	if p.Path != "" {
		where = printable(p.Path) + ": "
	}
	if p.Tree != "" {
		where = p.Tree + ": " + where
	}
	return where + p.Error
}

// A verified is the result as --json shows it. It is documented in isomount(1).
type verified struct {
	Image    string        `json:"image"`
	Bytes    int64         `json:"bytes"`
	Shown    string        `json:"shown"`
	Result   string        `json:"result"`
	Checks   []checkResult `json:"checks"`
	Problems []problem     `json:"problems"`
	Notes    []string      `json:"notes"`
}

// A verifyJob is one run of the command.
type verifyJob struct {
	app      *app
	sha256   string
	against  string
	options  string
	json     bool
	progress *progressMode

	path  string
	disc  *disc
	meter *meter
	sweep sweep
	done  verified
}

func (j *verifyJob) run(ctx context.Context, path string) error {
	j.path = path
	d, err := openDisc(path, j.options)
	if err != nil {
		return err
	}
	j.disc = d
	j.done = verified{Image: path, Bytes: d.image.Size(), Shown: d.volume.Report.Shown(), Problems: []problem{}, Notes: append([]string{}, d.volume.Report.Notes...)}
	j.sweep = sweep{src: d.image, size: d.image.Size()}
	j.meter = j.app.meter(*j.progress)
	defer j.meter.close()
	err = j.checks(ctx)
	j.meter.close()
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	return j.tell()
}

// checks does everything. Its error is one that has nothing to do with the disc.
func (j *verifyJob) checks(ctx context.Context) error {
	sha, err := j.prepareSHA256()
	if err != nil {
		return err
	}
	j.collect(checkISOMD5, isomd5Spans)
	j.collect(checkLibisofs, libisofsSpans)
	j.meter.start("read", j.sweep.size)
	if err := j.sweep.run(ctx, j.meter); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{j.sectors, j.structure, j.isomd5, j.libisofs, sha, j.compare} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// result notes what a check came to: a failure if it has problems.
func (j *verifyJob) result(check, detail string) {
	result := resultOK
	if slices.ContainsFunc(j.done.Problems, func(p problem) bool { return p.Check == check }) {
		result = resultFailed
	}
	j.done.Checks = append(j.done.Checks, checkResult{check, result, detail})
}

func (j *verifyJob) absent(check, detail string) {
	j.done.Checks = append(j.done.Checks, checkResult{check, resultAbsent, detail})
}

func (j *verifyJob) problem(p problem) { j.done.Problems = append(j.done.Problems, p) }

// fails notes a problem that an error tells of.
func (j *verifyJob) fails(check, path, tree string, err error) {
	p := problem{Check: check, Path: path, Tree: tree, Error: err.Error()}
	if c, ok := errors.AsType[*binfmt.CorruptError](err); ok {
		p.Offset = c.Off
	}
	j.problem(p)
}

// sectors tells of what could not be read. Which files that hits is told with
// the structure.
func (j *verifyJob) sectors(context.Context) error {
	for _, b := range j.sweep.bad {
		j.problem(problem{
			Check: checkSectors, Offset: b.from, Bytes: b.to - b.from,
			Error: fmt.Sprintf("%s cannot be read: %v", sectorsText(b.from, b.to), b.err),
		})
	}
	n := (j.sweep.size + blockBytes - 1) / blockBytes
	detail := fmt.Sprintf("%d read", n)
	if bad := j.sweep.badSectors(); bad > 0 {
		detail = fmt.Sprintf("%d of %d cannot be read", bad, n)
	}
	j.result(checkSectors, detail)
	return nil
}

// prepareSHA256 finds the SHA-256 that the image should have, and returns the
// check. Where the file is the disc byte for byte it is computed as that is read.
func (j *verifyJob) prepareSHA256() (func(context.Context) error, error) {
	want, from, err := givenSum(j.sha256, j.path)
	if j.sha256 == "" {
		want, from, err = besideSum(j.path)
	}
	if err != nil {
		return nil, err
	}
	if want == nil {
		return func(context.Context) error { j.absent(checkSHA256, "none given, none beside the image"); return nil }, nil
	}
	s := &span{check: checkSHA256, what: "image", to: j.sweep.size, want: want, hash: sha256.New()}
	if _, same := j.disc.image.LocalFile(); same {
		j.sweep.spans = append(j.sweep.spans, s)
		return func(context.Context) error { j.finish(s); j.result(checkSHA256, from); return nil }, nil
	}
	return func(ctx context.Context) error { return j.wholeFile(ctx, s, from) }, nil
}

// wholeFile computes the SHA-256 of an image file that is not the disc itself.
func (j *verifyJob) wholeFile(ctx context.Context, s *span, from string) error {
	info, err := j.disc.file.Stat()
	if err != nil {
		return err
	}
	s.to = info.Size()
	w := sweep{src: j.disc.file, size: s.to, spans: []*span{s}}
	j.meter.start("checksum", s.to)
	if err := w.run(ctx, j.meter); err != nil {
		return err
	}
	j.finish(s)
	j.result(checkSHA256, from)
	return nil
}

// finish compares a checksum that has been computed.
func (j *verifyJob) finish(s *span) {
	switch {
	case s.void != "":
		j.problem(problem{Check: s.check, Error: fmt.Sprintf("checksum of the %s cannot be computed: %s", s.what, s.void)})
	case !s.matches():
		j.problem(problem{Check: s.check, Error: fmt.Sprintf("checksum of the %s is %x, and should be %x", s.what, s.hash.Sum(nil), s.want)})
	}
}

// verifyWords says how each failed check is told, and what decides the exit code,
// the worst first.
var verifyWords = []struct {
	check string
	err   error
}{
	{checkSectors, errUnreadable},
	{checkStructure, errDamaged},
	{checkISOMD5, errMismatch},
	{checkLibisofs, errMismatch},
	{checkSHA256, errMismatch},
	{checkAgainst, errMismatch},
}

var (
	errUnreadable = errors.New("sectors cannot be read")
	errDamaged    = errors.New("the file system is damaged")
)

// tell shows the result.
func (j *verifyJob) tell() error {
	r := &j.done
	slices.SortStableFunc(r.Checks, func(a, b checkResult) int {
		return cmp.Compare(slices.Index(checkOrder, a.Check), slices.Index(checkOrder, b.Check))
	})
	var failed []string
	var worst error
	for _, w := range verifyWords {
		if slices.ContainsFunc(r.Checks, func(c checkResult) bool { return c.Check == w.check && c.Result == resultFailed }) {
			failed = append(failed, w.check)
			worst = cmp.Or(worst, w.err)
		}
	}
	r.Result = resultOK
	if worst != nil {
		r.Result = resultFailed
	}
	if err := j.print(r); err != nil {
		return err
	}
	if worst != nil {
		return fmt.Errorf("%s: %w; failed: %s", j.path, worst, strings.Join(failed, ", "))
	}
	return nil
}

func (j *verifyJob) print(r *verified) error {
	if j.json {
		return j.app.json(r)
	}
	w := tabwriter.NewWriter(j.app.out, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Check, c.Result, c.Detail)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintf(j.app.out, "note: %s\n", printable(n))
	}
	for i := range r.Problems {
		if i == maxNotes {
			fmt.Fprintf(j.app.out, "and %d problems more; --json tells all\n", len(r.Problems)-i)
			break
		}
		fmt.Fprintln(j.app.out, r.Problems[i].String())
	}
	if r.Result == resultOK {
		fmt.Fprintf(j.app.out, "%s: %s\n", printable(j.path), r.verdict())
	}
	return nil
}

// verdict says what it means that nothing is wrong.
func (r *verified) verdict() string {
	sums := 0
	for _, c := range r.Checks {
		if c.Result == resultOK && c.Check != checkSectors && c.Check != checkStructure {
			sums++
		}
	}
	if sums == 0 {
		return "everything can be read; there is no checksum that tells whether it is what it was"
	}
	return "whole"
}
