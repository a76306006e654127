"""What a tree of files is, as text: one line a path, so that two trees can be compared.

The agent prints this text from inside any box, and the digest of the image is the SHA-256 of
it. The same text is derived here from the tar archive, in another language and by other
code: so ownership is right even where an ordinary user has unpacked the archive, and a fault
in one of the two implementations is seen at the build.

A line is `PATH TAB MODE TAB UID:GID TAB SIZE TAB CONTENT`: the mode in octal with the type of
the file, the size of regular files (devices: their numbers; else 0), and as content the
SHA-256 of a file, `->TARGET` of a symbolic link, `-` of anything else. Control characters and
the backslash are written `\\xNN`. Lines are sorted by the components of the path, bytewise.

Extended attributes (file capabilities, ACLs) and times are not covered: container engines
and mke2fs do not carry them alike, and no program of the image depends on them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError

_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


@dataclass(frozen=True)
class ManifestEntry:
    """One path of a tree; `mode` holds the type of the file, `content` is as in the text."""

    mode: int
    uid: int
    gid: int
    size: int
    content: str

    def line(self, path: str) -> str:
        """The entry as a line of the manifest; `path` is escaped already."""
        return f"{path}\t{self.mode:o}\t{self.uid}:{self.gid}\t{self.size}\t{self.content}\n"


def digest_of(manifest: bytes) -> str:
    """The digest of a tree, `sha256:<hex>`, from its manifest."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def escape(name: bytes) -> bytes:
    """Control characters and the backslash as \\xNN: one path stays one line."""
    if not any(byte < 32 or byte in (92, 127) for byte in name):
        return name
    return b"".join(
        b"\\x%02x" % byte if byte < 32 or byte in (92, 127) else bytes((byte,)) for byte in name
    )


def parse_manifest(text: bytes) -> dict[str, ManifestEntry]:
    """A manifest by (escaped) path; raises ImageError with the number of a malformed line."""
    entries = {}
    for number, line in enumerate(text.decode(errors="surrogateescape").split("\n")[:-1], 1):
        try:
            path, mode, owner, size, content = line.split("\t")
            uid, gid = owner.split(":")
            entry = ManifestEntry(int(mode, 8), int(uid), int(gid), int(size), content)
        except ValueError:
            raise ImageError(f"line {number} of a manifest is malformed: {line!r}") from None
        entries[path] = entry
    if text and not text.endswith(b"\n"):
        raise ImageError("a manifest was cut off in the middle of a line")
    return entries


def render_manifest(entries: Mapping[bytes, ManifestEntry]) -> bytes:
    """The text of entries by raw path (`/usr/bin/x`), in the agent's order."""
    ordered = sorted(entries, key=lambda path: path.split(b"/"))
    return b"".join(
        entries[path]
        .line(escape(path).decode(errors="surrogateescape"))
        .encode(errors="surrogateescape")
        for path in ordered
    )


def manifest_of_tar(archive: Path, excludes: Iterable[str] = ()) -> bytes:
    """The manifest of what an archive unpacks to as root, without unpacking it."""
    skip = {os.fsencode(path) for path in excludes}
    entries: dict[bytes, ManifestEntry] = {}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            path = b"/" + os.fsencode(member.name.removeprefix(".").strip("/"))
            if path == b"/":
                continue
            if member.islnk():  # hard links keep all that the first name has
                entries[path] = entries[b"/" + os.fsencode(member.linkname.removeprefix("./"))]
                continue
            entries[path] = _entry_of(tar, member)
    return render_manifest(
        {path: entry for path, entry in entries.items() if not _under(path, skip)}
    )


def _under(path: bytes, tops: set[bytes]) -> bool:
    parts = path.split(b"/")
    return any(b"/".join(parts[:n]) in tops for n in range(2, len(parts) + 1))


def _entry_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> ManifestEntry:
    size, content = 0, "-"
    if member.isreg():
        file = tar.extractfile(member)
        assert file is not None
        size, content = member.size, hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    elif member.issym():
        target = escape(os.fsencode(member.linkname))
        content = "->" + target.decode(errors="surrogateescape")
    elif member.isdev() and not member.isfifo():
        size = member.devmajor << 32 | member.devminor
    # The kernel has no modes on symbolic links, and archives hold whatever their writer put.
    permissions = 0o777 if member.issym() else member.mode & 0o7777
    mode = _TYPES[member.type] | permissions
    return ManifestEntry(mode, member.uid, member.gid, size, content)


def differences(expected: bytes, found: bytes, ignore_ownership: bool = False) -> list[str]:
    """What differs between two trees: a sentence a path, sorted, empty when they are equal."""
    want, have = parse_manifest(expected), parse_manifest(found)
    told = []
    for path in sorted(want.keys() | have.keys()):
        if path not in have:
            told.append(f"{path}: missing")
        elif path not in want:
            told.append(f"{path}: not in the image")
        elif aspects := _aspects(want[path], have[path], ignore_ownership):
            told.append(f"{path}: {', '.join(aspects)}")
    return told


def _aspects(want: ManifestEntry, have: ManifestEntry, ignore_ownership: bool) -> list[str]:
    aspects = []
    if want.mode != have.mode:
        aspects.append(f"mode {have.mode:o} instead of {want.mode:o}")
    if not ignore_ownership and (want.uid, want.gid) != (have.uid, have.gid):
        aspects.append(f"owner {have.uid}:{have.gid} instead of {want.uid}:{want.gid}")
    if want.size != have.size:
        aspects.append(f"size {have.size} instead of {want.size}")
    if want.content != have.content:
        aspects.append("another target" if want.content.startswith("->") else "another content")
    return aspects
