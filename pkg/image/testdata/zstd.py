#!/usr/bin/env python3
"""Writes raw.iso.zst from raw.iso with zstd(1), following
zstd_seekable_compression_format.md, and with entries that have checksums."""
import struct
import subprocess

data = open("raw.iso", "rb").read()
out, table = b"", []


def frame(packed, size):
    global out
    out += packed
    table.append(struct.pack("<III", len(packed), size, 0xDEADBEEF))


for off in range(0, len(data), 1500):
    piece = data[off : off + 1500]
    frame(subprocess.run(["zstd", "-c"], input=piece, stdout=subprocess.PIPE, check=True).stdout, len(piece))
    if off == 0:
        frame(struct.pack("<II", 0x184D2A53, 5) + b"hello", 0)
body = b"".join(table)
out += struct.pack("<II", 0x184D2A5E, len(body) + 9) + body
out += struct.pack("<IBI", len(table), 0x80, 0x8F92EAB1)
open("raw.iso.zst", "wb").write(out)
