package fsys

// An Owner says who owns the nodes of a tree and what may be done with them,
// where the disc does not say or the mounter knows better. The zero Owner gives
// everything to root with mode 0555.
type Owner struct {
	UID, GID           uint32 // owner where the disc names none
	ForceUID, ForceGID bool   // and also where it does (uid= and gid=)
	FileMode, DirMode  uint32 // permission bits
	SetFile, SetDir    bool   // FileMode and DirMode were given (mode= and dmode=); else 0555
	Fallback           bool   // they never hold where the disc has modes, not even in UDF
	ForceMode          bool   // they also hold where the disc has modes (overriderockperm)
	Umask              uint32 // bits to take away from every mode (umask=, UDF only)
}

// Apply sets the owner and the permission bits of a. hasOwner and hasMode tell
// whether the disc gave those that a holds.
func (o *Owner) Apply(a *Attr, hasOwner, hasMode bool) {
	if !hasOwner || o.ForceUID {
		a.UID = o.UID
	}
	if !hasOwner || o.ForceGID {
		a.GID = o.GID
	}
	given, perm := o.SetFile, o.FileMode
	if a.IsDir() {
		given, perm = o.SetDir, o.DirMode
	}
	if !given {
		perm = 0o555
	}
	if !hasMode || (o.ForceMode && given) {
		a.Mode = a.Mode&^PermMask | perm&PermMask
	}
	a.Mode &^= o.Umask & 0o777
}
