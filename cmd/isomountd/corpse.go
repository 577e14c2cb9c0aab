package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A corpse is a daemon that was killed and cannot end, because one of its
// threads waits in the kernel and no signal wakes it: for an image on a file
// server that does not answer, or to store bytes in a page that somebody reads,
// which only the next daemon can end. What is left of it runs no more code, so
// the next one need not wait.

// corpsePulse is how often a keeper looks; it only matters when all drives hang.
const corpsePulse = time.Second

// corpseProof is how long all that is left must not move. A thread that the kill
// has only not reached yet does, and might take a request with it.
const corpseProof = 100 * time.Millisecond

// isCorpse tells whether the child was killed and cannot end.
func (c *child) isCorpse() bool {
	before := remains(c.Process.Pid)
	if before == "" {
		return false
	}
	for end := time.Now().Add(corpseProof); time.Now().Before(end); {
		select {
		case <-c.ended:
			return false
		case <-time.After(corpseProof / 10):
		}
		if remains(c.Process.Pid) != before {
			return false
		}
	}
	return true
}

// remains lists the threads of a process of which the first has ended, "" if
// there are none or one of them could still run. See proc_pid_stat(5) for states.
func remains(pid int) string {
	const dead, waiting = 'Z', 'D'
	tasks := fmt.Sprintf("/proc/%d/task/", pid)
	if taskState(tasks+strconv.Itoa(pid)) != dead {
		return ""
	}
	list, err := os.ReadDir(tasks)
	if err != nil {
		return ""
	}
	var left []string
	for _, t := range list {
		switch taskState(tasks + t.Name()) {
		case dead, 'X', 0:
		case waiting:
			left = append(left, t.Name())
		default:
			return ""
		}
	}
	slices.Sort(left)
	return strings.Join(left, " ")
}

// taskState returns the state of a thread, 0 if it is gone.
func taskState(dir string) byte {
	b, err := os.ReadFile(dir + "/stat")
	// The name of the program, in parentheses, may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if err != nil || i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}
