package isofs

import (
	"testing"

	"go.uber.org/goleak"
)

// The decompressors of other packages start goroutines; none may stay.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
