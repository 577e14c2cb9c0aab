package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
)

func statsCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "stats [--json]",
		Short: "Show what the daemon has done and holds",
		Args:  args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := connect(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = client.Close() }()
			s, err := client.Stats(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(s)
			}
			return a.stats(s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the figures as JSON")
	return c
}

func (a *app) stats(s *ipc.StatsReply) error {
	n := s.Counters
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "daemon\tisomountd %s, process %d, up %s\n", s.Version, s.PID, time.Since(s.Since).Round(time.Second))
	fmt.Fprintf(w, "memory\t%s resident, %s heap\n", bytesText(s.Resident), bytesText(s.Heap))
	fmt.Fprintf(w, "threads\t%d, %d goroutines\n", s.Threads, s.Goroutines)
	fmt.Fprintf(w, "drives\t%d\n", len(s.Drives))
	fmt.Fprintf(w, "requests\t%d, %d of them answered with an error; %s read\n", n.Requests, n.Errors, bytesText(n.Read))
	fmt.Fprintf(w, "cache\t%s of %s; %d hits, %d misses, %s fetched, %d evictions\n",
		bytesText(s.CacheSize), bytesText(s.CacheLimit), n.Hits, n.Misses, bytesText(n.Fetched), n.Evictions)
	return w.Flush()
}

func daemonCommand(a *app) *cobra.Command {
	var restart bool
	c := &cobra.Command{
		Use:   "daemon [--restart]",
		Short: "Start the daemon and say where it listens",
		Long: `Start the daemon for this user if it does not run yet, and say where it listens.
Other commands do so by themselves.

After an upgrade --restart replaces the daemon that runs by the one that is
installed. All drives stay, and whoever reads from them notices nothing.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := connectOrStart(c.Context())
			if err != nil {
				return err
			}
			if restart {
				if client, err = restartDaemon(c.Context(), client); err != nil {
					return err
				}
			}
			defer func() { _ = client.Close() }()
			p, err := client.Ping(c.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "isomountd %s, process %d, listens on %s\n", p.Version, p.PID, client.Path())
			return nil
		},
	}
	c.Flags().BoolVar(&restart, "restart", false, "replace the daemon that runs; its drives stay")
	return c
}
