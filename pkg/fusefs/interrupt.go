//go:build amd64 || arm64

package fusefs

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callSignal gets a thread out of a system call. The C library has the real-time
// signals up to 34, the Go runtime none.
const callSignal = syscall.Signal(40)

const (
	saRestart = 0x10000000 // SA_RESTART of include/uapi/asm-generic/signal-defs.h
	maskBytes = 8          // the size of a set of signals
)

// A sigaction is the kernel's struct of that name on these machines (Linux
// include/linux/signal_types.h).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// canInterrupt makes interrupt work, once. The Go runtime has system calls go on
// after every signal (SA_RESTART), which for this one is taken back.
var canInterrupt = sync.OnceValue(func() bool {
	signal.Notify(make(chan os.Signal, 1), callSignal) // nobody listens
	var act sigaction
	if !sigactionOf(nil, &act) {
		return false
	}
	act.flags &^= saRestart
	return sigactionOf(&act, nil)
})

func sigactionOf(set, get *sigaction) bool {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(callSignal), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(get)), maskBytes, 0, 0)
	return e == 0
}

// interrupt has a system call in which a thread of this process waits fail with
// EINTR.
func interrupt(tid int) { _ = unix.Tgkill(unix.Getpid(), tid, callSignal) }
