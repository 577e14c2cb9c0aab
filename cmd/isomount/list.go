package main

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
)

func listCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the drives",
		Long:  `List the drives of this user, or, as root, those of everybody.`,
		Args:  args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, drives, err := a.drives(c.Context())
			if err != nil && !errors.Is(err, ipc.ErrNoDaemon) {
				return err // without a daemon there are no drives
			}
			if client != nil {
				defer func() { _ = client.Close() }()
			}
			if asJSON {
				return a.json(append([]ipc.Drive{}, drives...))
			}
			return a.table(drives)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the drives as JSON")
	return c
}

// table prints drives for people.
func (a *app) table(drives []ipc.Drive) error {
	if len(drives) == 0 {
		fmt.Fprintln(a.out, "no drives")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DRIVE\tLABEL\tFILE SYSTEM\tSIZE\tOWNER\tSTATE\tSINCE\tMOUNT POINT\tIMAGE")
	for i := range drives {
		d := &drives[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, printable(d.Label), d.Filesystem, bytesText(d.Size),
			userName(d.UID), stateText(d), d.Since.Local().Format(time.DateTime), printable(string(d.Mountpoint)), printable(string(d.Image)))
	}
	return w.Flush()
}

// stateText says how a drive is, and whether it is one that ends with its daemon.
func stateText(d *ipc.Drive) string {
	if hasOption(d.Options, "transport=uring") {
		return string(d.State) + " (uring)"
	}
	return string(d.State)
}

// printable keeps what a name from a disc holds from acting on the terminal.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	q := strconv.Quote(s)
	if q == `"`+s+`"` {
		return s
	}
	return q
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// bytesText writes a number of bytes in powers of 1024, with three digits.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	v, u := float64(n)/1024, 0
	for v >= 999.5 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f%c", v, units[u])
	}
	return fmt.Sprintf("%.0f%c", v, units[u])
}
