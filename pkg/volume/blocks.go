package volume

import "github.com/isomount/isomount/pkg/isofs"

// Blocks keeps what a reader has decompressed, see [isofs.Blocks].
type Blocks = isofs.Blocks
