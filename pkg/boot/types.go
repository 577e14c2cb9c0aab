package boot

// A typeName is what a type of partition is called.
type typeName struct{ kind, name string }

// nameOf returns the name of a type, "" if it has none.
func nameOf(table []typeName, kind string) string {
	for _, t := range table {
		if t.kind == kind {
			return t.name
		}
	}
	return ""
}

// mbrTypes names the partition types that are found on discs and disk images.
var mbrTypes = [256]string{
	0x00: "unused",
	0x01: "FAT12",
	0x04: "FAT16, small",
	0x05: "extended",
	0x06: "FAT16",
	0x07: "NTFS, exFAT or HPFS",
	0x0B: "FAT32",
	0x0C: "FAT32, LBA",
	0x0E: "FAT16, LBA",
	0x0F: "extended, LBA",
	0x11: "FAT12, hidden",
	0x14: "FAT16, small, hidden",
	0x16: "FAT16, hidden",
	0x17: "NTFS, exFAT or HPFS, hidden", // what isohybrid writes for the disc itself
	0x1B: "FAT32, hidden",
	0x1C: "FAT32, LBA, hidden",
	0x1E: "FAT16, LBA, hidden",
	0x41: "PReP boot",
	0x82: "Linux swap",
	0x83: "Linux",
	0x85: "Linux extended",
	0x8E: "Linux LVM",
	0x96: "ISO 9660 (CHRP)",
	0xA5: "FreeBSD",
	0xA6: "OpenBSD",
	0xA9: "NetBSD",
	0xAB: "Mac OS X boot",
	0xAF: "HFS or HFS+",
	0xCD: "ISO 9660", // what xorriso writes for the disc itself
	0xEE: "GPT protective",
	0xEF: "EFI system",
	0xFD: "Linux RAID",
}

// gptTypes names the partition types that are found on discs and disk images.
var gptTypes = []typeName{
	{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"},
	{"024dee41-33e7-11d3-9d69-0008c781f39f", "MBR partition scheme"},
	{"21686148-6449-6e6f-744e-656564454649", "BIOS boot"},
	{"e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"},
	{"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft basic data"},
	{"de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"},
	{"0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux file system"},
	{"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"},
	{"bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux extended boot"},
	{"e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"},
	{"a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"},
	{"44479540-f297-41b2-9af7-d131d5f0458a", "Linux root (x86)"},
	{"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"},
	{"69dad710-2ce4-4e3c-b16c-21a1d49abed3", "Linux root (ARM)"},
	{"b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (ARM64)"},
	{"933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"},
	{"48465300-0000-11aa-aa11-00306543ecac", "HFS or HFS+"},
	{"7c3457ef-0000-11aa-aa11-00306543ecac", "APFS"},
	{"426f6f74-0000-11aa-aa11-00306543ecac", "Apple boot"},
	{"53746f72-6167-11aa-aa11-00306543ecac", "Apple Core Storage"},
	{"55465300-0000-11aa-aa11-00306543ecac", "Apple UFS"},
	{"516e7cb4-6ecf-11d6-8ff8-00022d09712b", "FreeBSD data"},
	{"83bd6b9d-7f41-11dc-be0b-001560b84f0f", "FreeBSD boot"},
	{"516e7cb6-6ecf-11d6-8ff8-00022d09712b", "FreeBSD UFS"},
	{"516e7cba-6ecf-11d6-8ff8-00022d09712b", "FreeBSD ZFS"},
}

// appleTypes names the partition types of Apple partition maps.
var appleTypes = []typeName{
	{"Apple_partition_map", "partition map"},
	{"Apple_HFS", "HFS or HFS+"},
	{"Apple_HFSX", "HFSX"},
	{"Apple_Free", "free space"},
	{"Apple_Driver", "driver"},
	{"Apple_Driver43", "driver"},
	{"Apple_Driver43_CD", "CD driver"},
	{"Apple_Driver_ATAPI", "ATAPI driver"},
	{"Apple_Patches", "patches"},
	{"Apple_Bootstrap", "bootstrap"},
	{"Apple_Boot", "boot"},
	{"Apple_UFS", "UFS"},
	{"Apple_UNIX_SVR2", "Unix"},
	{"Apple_ProDOS", "ProDOS"},
	{"Apple_Scratch", "unused"},
	{"ISO9660_data", "ISO 9660"},
	{"CD_ROM_Mode_1", "ISO 9660"},
	{"DOS_FAT_16", "FAT16"},
	{"DOS_FAT_32", "FAT32"},
	{"Windows_FAT_32", "FAT32"},
	{"EFI System Partition", "EFI system"},
}
