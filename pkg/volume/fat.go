package volume

// addFAT adds a directory for the FAT file system in a piece of the disc, if
// there is one.
func addFAT(_ *mux, _ int, _ string, _ Disc, _ Options, _, _ int64) {}
