package main

import (
	"bufio"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/isomount/isomount/pkg/ipc"
)

// agreed finds out whether the user wants it: by what is recorded for this disc,
// or by asking.
func (a *app) agreed(ctx context.Context, mode autorunMode, o *offer, d *ipc.Drive) (bool, error) {
	if mode == autorunAlways {
		return true, nil
	}
	store, err := openConsents()
	if err != nil {
		return false, err
	}
	hash, err := discHash(ctx, string(d.Mountpoint), o)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(a.err, "isomount: note: an answer for this disc cannot be remembered: %v\n", err)
	}
	switch store.decision(hash) {
	case consentAllow:
		return true, nil
	case consentDeny:
		fmt.Fprintf(a.err, "isomount: note: the disc wants to %s; you said never; isomount autorun --forget %.12s has it ask again\n", o.what, hash)
		return false, nil
	}
	if !isTerminal(a.in) || !isTerminal(a.err) {
		fmt.Fprintf(a.err, "isomount: note: the disc wants to %s; nothing was run, since there is no terminal to ask at and no consent is recorded\n", o.what)
		return false, nil
	}
	return a.ask(ctx, store, hash, o, d)
}

// ask asks at the terminal. Only a clear yes is one.
func (a *app) ask(ctx context.Context, store *consents, hash string, o *offer, d *ipc.Drive) (bool, error) {
	fmt.Fprintf(a.err, "%s: the disc %s wants to %s, with all your rights.\n", printable(filepath.Base(string(d.Image))), title(d), o.what)
	choices := "[y]es, once; [N]o"
	if hash != "" {
		choices = "[y]es, once; [a]lways for this disc; [N]o; ne[v]er for this disc"
	}
	fmt.Fprintf(a.err, "Let it? %s: ", choices)
	answer, err := a.readLine(ctx)
	if err != nil {
		return false, err
	}
	c := consent{Label: d.Label, Action: o.what, Image: d.Image}
	switch answer {
	case "y", "yes":
		return true, nil
	case "a", "always":
		c.Decision = consentAllow
	case "v", "never":
		c.Decision = consentDeny
	default:
		return false, nil
	}
	if hash == "" {
		return c.Decision == consentAllow, nil
	}
	return c.Decision == consentAllow, store.record(ctx, hash, c)
}

// readLine reads an answer, "" at the end of input. When ctx ends, the goroutine
// ends with the program.
func (a *app) readLine(ctx context.Context) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(a.in).ReadString('\n') // no answer is no
		line <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case text := <-line:
		return text, nil
	case <-ctx.Done():
		fmt.Fprintln(a.err)
		return "", ctx.Err()
	}
}
