//go:build !amd64 && !arm64

package fusefs

// canInterrupt is false where nobody has looked how the kernel's struct
// sigaction is laid out.
func canInterrupt() bool { return false }

func interrupt(int) {}
