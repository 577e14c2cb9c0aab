package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
)

func autorunCommand(a *app) *cobra.Command {
	var forget []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "autorun [--json | --forget ID|IMAGE|all]",
		Short: "List or forget what was agreed to be run",
		Long: `List the answers of "always" and "never" that were given to isomount mount --autorun,
or forget some: then it asks again. Nothing is run by this command.

An answer is for what was on a disc, wherever its image is. IMAGE is where it was
when the question was answered; ID is the beginning of the disc's hash.`,
		Example: `  isomount autorun
  isomount autorun --forget game.iso
  isomount autorun --forget all`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := openConsents()
			if err != nil {
				return err
			}
			switch {
			case len(forget) > 0 && asJSON:
				return usagef("--json is for the list; leave it out with --forget")
			case len(forget) > 0:
				return a.forgetConsents(c.Context(), store, forget)
			case asJSON:
				return a.json(store.list())
			}
			return a.consentTable(store.list())
		},
	}
	c.Flags().StringArrayVar(&forget, "forget", nil, "forget the answers for a disc: its `ID` or image, or all; may be repeated")
	c.Flags().BoolVar(&asJSON, "json", false, "print the answers as JSON")
	return c
}

// A listedConsent is an answer as --json shows it. It is documented in
// isomount(1).
type listedConsent struct {
	ID       string    `json:"id"`       // hash of the disc
	Decision string    `json:"decision"` // allow or deny
	Label    string    `json:"label"`
	Action   string    `json:"action"`
	Image    ipc.Path  `json:"image"` // "" if it was not noted
	Time     time.Time `json:"time"`
}

// list lists the answers, the oldest first.
func (c *consents) list() []listedConsent {
	list := make([]listedConsent, 0, len(c.file.Discs))
	for hash, d := range c.file.Discs {
		list = append(list, listedConsent{hash, d.Decision, d.Label, d.Action, d.Image, d.Time})
	}
	slices.SortFunc(list, func(a, b listedConsent) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID))
	})
	return list
}

// shownID is how much of a hash is shown, and minID how much has to be given.
const (
	shownID = 12
	minID   = 4
)

func (a *app) consentTable(list []listedConsent) error {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no answers are remembered")
		return nil
	}
	answers := map[string]string{consentAllow: "always", consentDeny: "never"}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tANSWER\tLABEL\tSINCE\tWHAT\tIMAGE")
	for i := range list {
		l := &list[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(l.ID[:min(shownID, len(l.ID))]), cmp.Or(answers[l.Decision], printable(l.Decision)),
			printable(l.Label), l.Time.Local().Format(time.DateTime), printable(l.Action), printable(string(l.Image)))
	}
	return w.Flush()
}

// forgetConsents forgets the answers that words name. If one of them names none,
// nothing is forgotten.
func (a *app) forgetConsents(ctx context.Context, store *consents, words []string) error {
	gone := 0
	err := store.update(ctx, func(discs map[string]consent) error {
		kept := maps.Clone(discs)
		for _, w := range words {
			match := matcher(w)
			n := len(kept)
			maps.DeleteFunc(kept, match)
			if len(kept) == n && w != "all" {
				return &ipc.Error{Err: ipc.ErrNotFound, Message: "no answer is remembered for " + printable(w), Hint: `"isomount autorun" shows those that are`}
			}
		}
		gone = len(discs) - len(kept)
		maps.DeleteFunc(discs, func(hash string, _ consent) bool { _, keep := kept[hash]; return !keep })
		return nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s forgotten\n", counted(gone, "answer", "answers"))
	return err
}

// matcher finds the answers that a word of the command line means.
func matcher(word string) func(string, consent) bool {
	path, err := filepath.Abs(word)
	return func(hash string, c consent) bool {
		return word == "all" || len(word) >= minID && strings.HasPrefix(hash, word) ||
			err == nil && c.Image != "" && string(c.Image) == path
	}
}
