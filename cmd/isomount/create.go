package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs/master"
)

func createCommand(a *app) *cobra.Command {
	j := &createJob{app: a}
	c := &cobra.Command{
		Use:   "create SOURCE|TARGET=SOURCE... -o FILE|-",
		Short: "Make a disc image of directories and files",
		Long: `Make a disc image: ISO 9660 with Rock Ridge (owners, modes, links, long names,
extended attributes) and Joliet (for Windows), and UDF beside it with --udf.

What is in a directory goes into the root of the image, a file goes there under
its own name. TARGET=SOURCE puts either at a path of the image instead; write
\= for an equals sign in a name. Later sources are merged into earlier ones.

The image appears whole or not at all, also when it is interrupted. Sources are
only read. The output is never part of the image, even if it lies in a source.
With SOURCE_DATE_EPOCH set, the same files give the same image, byte for byte.`,
		Example: `  isomount create photos -o photos.iso
  isomount create --udf films -o films.iso          # files over 4 GiB for Windows
  isomount create src doc=../manual -o - | ssh host 'cat >src.iso'
  git ls-files -z | isomount create --files-from - -0 -o tree.iso
  isomount create root --boot isolinux/isolinux.bin --boot-info-table \
      --efi-boot boot/efi.img --isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin \
      -o live.iso`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words) },
	}
	j.out.addFlags(c)
	j.addTreeFlags(c)
	j.addVolumeFlags(c)
	j.boot.addFlags(c)
	c.Flags().BoolVar(&j.opt.MD5, "md5", false, "record checksums of every file and of the image, as xorriso does")
	c.Flags().BoolVar(&j.implant, "implant-md5", false, "write a checksum that checkisomd5 and installers verify")
	c.Flags().BoolVar(&j.json, "json", false, "print what was made as JSON")
	j.progress = progressFlag(c)
	return c
}

// A createJob is one run of the command.
type createJob struct {
	app      *app
	out      outFile
	scan     master.ScanOptions
	opt      master.Options
	boot     bootFlags
	udf      string
	from     string // --files-from
	null     bool
	owner    string
	implant  bool
	json     bool
	progress *progressMode
}

func (j *createJob) addTreeFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVarP(&j.scan.Exclude, "exclude", "x", nil, "leave out what matches `PATTERN`, with * ? [] and ** for directories;\nof a pattern without a slash the last part of a path counts; may be repeated")
	f.BoolVar(&j.scan.Follow, "follow", false, "take what symbolic links point to")
	f.BoolVar(&j.scan.OneFileSystem, "one-file-system", false, "do not look into other file systems mounted in a source")
	f.BoolVar(&j.scan.SkipUnreadable, "skip-unreadable", false, "leave out what cannot be read, say so, and exit with 14")
	f.BoolVar(&j.scan.NoXattrs, "no-xattrs", false, "leave out extended attributes and ACLs")
	f.BoolVar(&j.scan.AllXattrs, "all-xattrs", false, "take those outside of user. too")
	f.StringVar(&j.from, "files-from", "", "read sources from `FILE`, - for standard input: one a line, each by itself,\nat the same path in the image")
	f.BoolVarP(&j.null, "null", "0", false, "they are ended by zero bytes, as find -print0 does")
	f.StringVar(&j.owner, "owner", "", "give everything to `UID:GID`")
}

func (j *createJob) addVolumeFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&j.udf, "udf", "", "write a UDF tree too, of `REVISION` 1.02 or 2.01")
	f.Lookup("udf").NoOptDefVal = "1.02"
	f.BoolVar(&j.opt.NoJoliet, "no-joliet", false, "no Joliet tree")
	f.BoolVar(&j.opt.NoRockRidge, "no-rock-ridge", false, "no Rock Ridge: no owners, modes, links, long names")
	f.BoolVar(&j.opt.LongJoliet, "joliet-long", false, "Joliet names of up to 103 characters instead of 64")
	f.BoolVar(&j.opt.Deep, "deep", false, "leave directories deeper than ISO 9660 allows where they are")
	f.BoolVar(&j.opt.NoPadding, "no-padding", false, "no 300 KiB of zeros at the end, which old drives want")
	f.StringVarP(&j.opt.VolumeID, "label", "V", "", "`NAME` of the disc (default: that of the directory)")
	f.StringVar(&j.opt.VolumeSetID, "volume-set", "", "`NAME` of the set of discs")
	f.StringVar(&j.opt.PublisherID, "publisher", "", "`WHO` publishes it")
	f.StringVar(&j.opt.PreparerID, "preparer", "", "`WHO` made the image")
	f.StringVar(&j.opt.ApplicationID, "application", "", "`PROGRAM` that made it, or that it is for (default ISOMOUNT)")
	f.StringVar(&j.opt.SystemID, "system", "", "`SYSTEM` that can use the first 16 sectors (default LINUX)")
	f.StringVar(&j.opt.CopyrightFile, "copyright", "", "`FILE` in the root of the image with the copyright")
	f.StringVar(&j.opt.AbstractFile, "abstract", "", "`FILE` in the root of the image that tells what the disc is")
	f.StringVar(&j.opt.BiblioFile, "biblio", "", "`FILE` in the root of the image with bibliographic data")
}

// A bootFlags is what is said about booting. Paths are those in the image.
type bootFlags struct {
	bios, efi, catalog, emulation string
	systemArea, hybrid            string // files
	loadSize                      uint16
	infoTable, grub2              bool
}

func (b *bootFlags) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&b.bios, "boot", "", "boot a BIOS with the file at this `PATH` of the image (El Torito)")
	f.StringVar(&b.efi, "efi-boot", "", "boot UEFI with the file at this `PATH` of the image, a FAT file system")
	f.BoolVar(&b.infoTable, "boot-info-table", false, "write the table that isolinux and GRUB want into the --boot file")
	f.BoolVar(&b.grub2, "boot-grub2", false, "write the block address that GRUB 2 wants into the --boot file")
	f.Uint16Var(&b.loadSize, "boot-load-size", 0, "how many `SECTORS` of 512 bytes a BIOS loads (default 4)")
	f.StringVar(&b.emulation, "boot-emulation", "none", "`DRIVE` that a BIOS takes the --boot file for: none, 1.2, 1.44, 2.88 or hd")
	f.StringVar(&b.hybrid, "isohybrid-mbr", "", "boot from USB sticks too, with this `FILE`, isohdpfx.bin of isolinux")
	f.StringVar(&b.systemArea, "system-area", "", "put `FILE` of up to 32 KiB before the file system as it is")
	f.StringVar(&b.catalog, "boot-catalog", "", "show the boot catalog at this `PATH` of the image")
}

func emulations() map[string]master.Emulation {
	return map[string]master.Emulation{
		"none": master.NoEmulation, "1.2": master.Floppy12, "1.44": master.Floppy144, "2.88": master.Floppy288, "hd": master.HardDisk,
	}
}

// images returns the boot images in the order of the catalog: a BIOS looks at
// the first only.
func (b *bootFlags) images() ([]master.Boot, error) {
	emulation, ok := emulations()[b.emulation]
	switch {
	case !ok:
		return nil, usagef("--boot-emulation=%s: not one of none, 1.2, 1.44, 2.88, hd", b.emulation)
	case b.bios == "" && (b.infoTable || b.grub2 || b.loadSize != 0 || emulation != master.NoEmulation):
		return nil, usagef("there is no file to boot with; name it with --boot PATH")
	case b.bios == "" && b.efi == "" && b.catalog != "":
		return nil, usagef("--boot-catalog: there is nothing to boot; add --boot or --efi-boot")
	}
	var list []master.Boot
	if b.bios != "" {
		list = append(list, master.Boot{
			Path: path.Clean("/" + b.bios), Emulation: emulation, Sectors: b.loadSize, InfoTable: b.infoTable, GRUB2: b.grub2,
		})
	}
	if b.efi != "" {
		list = append(list, master.Boot{Path: path.Clean("/" + b.efi), Platform: master.EFI})
	}
	return list, nil
}

// sectors reads what comes before the file system.
func (b *bootFlags) sectors(opt *master.Options) (err error) {
	switch {
	case b.hybrid != "" && b.systemArea != "":
		return usagef("--isohybrid-mbr and --system-area exclude each other")
	case b.hybrid != "" && (b.bios == "" || !b.infoTable):
		return usagef("--isohybrid-mbr loads isolinux: add --boot PATH --boot-info-table")
	}
	if b.hybrid != "" {
		opt.HybridMBR, err = readStart(b.hybrid)
	}
	if b.systemArea != "" {
		opt.SystemArea, err = readStart(b.systemArea)
	}
	return err
}

// systemArea is how much comes before a file system (ECMA-119 6.2.1).
const systemArea = 32 << 10

// readStart reads a file for the system area; more than that is an error.
func readStart(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, systemArea+1))
	if err == nil && len(b) > systemArea {
		err = usagef("%s: it has more than the %d bytes before a file system", path, systemArea)
	}
	return b, err
}

// run makes the image.
func (j *createJob) run(ctx context.Context, words []string) error {
	sources, err := j.prepare(words)
	if err != nil {
		return err
	}
	m := j.app.meter(*j.progress)
	defer m.close()
	m.start("scan", 0)
	tree, notes, err := master.Scan(ctx, sources, j.scan)
	if err != nil {
		return explainScan(err)
	}
	result, err := j.write(ctx, tree, m)
	m.close()
	if err != nil {
		return explainWrite(err)
	}
	result.Notes = append(notes, result.Notes...)
	return j.tell(&result)
}

// prepare checks the command line and returns the sources.
func (j *createJob) prepare(words []string) ([]master.Source, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	sources, err := j.sources(words)
	if err != nil {
		return nil, err
	}
	if err := j.leaveOutput(sources); err != nil {
		return nil, err
	}
	j.opt.VolumeID = cmp.Or(j.opt.VolumeID, defaultLabel(sources))
	return sources, nil
}

func (j *createJob) check() (err error) {
	if err := j.out.check(j.app); err != nil {
		return err
	}
	if j.implant && (j.out.path == "-" || j.out.zst()) {
		return usagef("--implant-md5 changes the image when it is complete: it needs a plain file as output")
	}
	if j.implant && j.opt.MD5 {
		return usagef("--md5 and --implant-md5 exclude each other: the second would change what the first covers")
	}
	switch j.udf {
	case "":
	case "1.02":
		j.opt.UDF = master.UDF102
	case "2.01":
		j.opt.UDF = master.UDF201
	default:
		return usagef("--udf=%s: not 1.02 or 2.01", j.udf)
	}
	if j.opt.Boot, err = j.boot.images(); err != nil {
		return err
	}
	j.opt.BootCatalog = j.boot.catalog
	if err := j.boot.sectors(&j.opt); err != nil {
		return err
	}
	if err := j.setOwner(); err != nil {
		return err
	}
	return j.setDate()
}

// setDate makes the image reproducible if the environment asks for that.
func (j *createJob) setDate() error {
	date, err := sourceDate()
	if err != nil || date.IsZero() {
		return err
	}
	j.opt.Date, j.opt.Reproducible, j.scan.Date = date, true, date
	return nil
}

func (j *createJob) setOwner() error {
	if j.owner == "" {
		return nil
	}
	user, group, _ := strings.Cut(j.owner, ":")
	uid, err := strconv.ParseUint(user, 10, 32)
	gid, gidErr := strconv.ParseUint(cmp.Or(group, user), 10, 32)
	if err != nil || gidErr != nil {
		return usagef("--owner=%s: not two numbers as in 0:0", j.owner)
	}
	j.scan.Adjust = func(_ string, a *fsys.Attr) { a.UID, a.GID = uint32(uid), uint32(gid) }
	return nil
}

func (j *createJob) sources(words []string) ([]master.Source, error) {
	if len(words) == 0 && j.from == "" {
		return nil, usagef("no sources; name directories or files, or give a list with --files-from")
	}
	if j.null && j.from == "" {
		return nil, usagef("-0 tells about a list; add --files-from FILE, or - for standard input")
	}
	var sources []master.Source
	for _, w := range words {
		sources = append(sources, master.ParseSource(w))
	}
	if j.from == "" {
		return sources, nil
	}
	listed, err := j.listed()
	if err != nil {
		return nil, fmt.Errorf("list of files: %w", err)
	}
	return append(sources, listed...), nil
}

// listed reads --files-from.
func (j *createJob) listed() ([]master.Source, error) {
	if j.from == "-" {
		return master.ReadSources(j.app.in, j.null)
	}
	f, err := os.Open(j.from)
	if err != nil {
		return nil, err
	}
	list, err := master.ReadSources(f, j.null)
	return list, errors.Join(err, f.Close())
}

// leaveOutput keeps the output, if it exists, out of the image.
func (j *createJob) leaveOutput(sources []master.Source) error {
	info, err := os.Stat(j.out.path)
	if j.out.path == "-" || err != nil {
		return nil //nolint:nilerr // what does not exist yet is not in the way
	}
	for _, s := range sources {
		if source, err := os.Stat(s.Path); err == nil && !s.Shallow && os.SameFile(info, source) {
			return usagef("%s is both source and output; choose another name for the output", s.Path)
		}
	}
	j.scan.Leave = append(j.scan.Leave, info)
	return nil
}

// defaultLabel names a disc after the only directory that is in it.
func defaultLabel(sources []master.Source) string {
	if len(sources) != 1 || sources[0].Target != "" {
		return ""
	}
	dir, err := filepath.Abs(sources[0].Path)
	if err != nil {
		return ""
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || dir == "/" {
		return ""
	}
	return cut(filepath.Base(dir), 32)
}

func (j *createJob) write(ctx context.Context, tree *master.Tree, m *meter) (result master.Result, err error) {
	m.start("write", 0)
	err = j.out.write(ctx, j.app, func(w io.Writer) error {
		result, err = master.Write(ctx, w, tree, j.opt, m.update)
		if err != nil || !j.implant || j.out.file == nil {
			return err
		}
		m.start("checksum", 0)
		return master.ImplantMD5(ctx, j.out.file, false, false, m.update)
	})
	return result, err
}

// A created is the result as --json shows it. It is documented in isomount(1).
type created struct {
	Output      string     `json:"output"`
	Bytes       int64      `json:"bytes"` // of the image, before compression
	Label       string     `json:"label"`
	Files       int        `json:"files"`
	Directories int        `json:"directories"`
	Relocated   int        `json:"relocated"`
	Notes       []noteText `json:"notes"`
}

// tell says what was made. Notes make the exit code tell that something is not
// in the image as it was found.
func (j *createJob) tell(r *master.Result) error {
	c := created{
		Output: j.out.path, Bytes: r.Blocks * blockBytes, Label: j.opt.VolumeID,
		Files: r.Files, Directories: r.Directories, Relocated: r.Relocated, Notes: noteTexts(r.Notes),
	}
	j.app.tellNotes(c.Notes)
	if err := j.print(&c); err != nil {
		return err
	}
	if slices.ContainsFunc(r.Notes, func(n master.Note) bool {
		return !errors.Is(n.Err, master.ErrLoop) && !errors.Is(n.Err, master.ErrUDFXattrs)
	}) {
		return fmt.Errorf("%s: %w; see the notes", c.Output, errPartial)
	}
	return nil
}

func (j *createJob) print(c *created) error {
	switch {
	case c.Output == "-":
		return nil
	case j.json:
		return j.app.json(c)
	}
	size := bytesText(c.Bytes)
	if j.out.zst() {
		size = fmt.Sprintf("%s, compressed to %s", size, bytesText(j.out.size()))
	}
	_, err := fmt.Fprintf(j.app.out, "%s: %s, %s, %s\n", c.Output, counted(c.Files, "file", "files"), counted(c.Directories, "directory", "directories"), size)
	return err
}

// explainScan adds what to do to an error of reading the sources.
func explainScan(err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: two sources have this name; place one elsewhere with TARGET=SOURCE", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; --skip-unreadable leaves out what cannot be read", err)
	}
	return err
}

// explainWrite adds what to do to an error of writing the image.
func explainWrite(err error) error {
	switch {
	case errors.Is(err, master.ErrTooDeep):
		return fmt.Errorf("%w; leave out --no-rock-ridge, or add --deep", err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w; nothing was left behind, make room or choose another place with -o", err)
	case errors.Is(err, master.ErrShort), errors.Is(err, master.ErrGone):
		return fmt.Errorf("%w; nothing was written, try again when it is not in use", err)
	}
	return err
}
