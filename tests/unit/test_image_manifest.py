"""The text that says what a tree is: parsed, compared, and derived from an archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.image.manifest import (
    ManifestEntry,
    differences,
    digest_of,
    escape,
    manifest_of_tar,
    parse_manifest,
)

HASH = hashlib.sha256(b"hi").hexdigest()
BASE = f"/a\t40755\t0:0\t0\t-\n/a/f\t104755\t0:5\t2\t{HASH}\n/l\t120777\t0:0\t0\t->a/f\n".encode()


def test_a_line_holds_mode_owner_size_and_content() -> None:
    entries = parse_manifest(BASE)
    assert list(entries) == ["/a", "/a/f", "/l"]
    assert entries["/a/f"] == ManifestEntry(0o104755, 0, 5, 2, HASH)


def test_the_digest_is_of_the_bytes() -> None:
    assert digest_of(BASE) == "sha256:" + hashlib.sha256(BASE).hexdigest()


@pytest.mark.parametrize("text", [b"/a\t40755\t0:0\t0\n", b"/a\t9\t0:0\t0\t-\n", BASE[:-3]])
def test_a_malformed_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ImageError):
        parse_manifest(text)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"104755", b"100755", ["/a/f: mode 100755 instead of 104755"]),
        (b"\t0:5\t", b"\t1:5\t", ["/a/f: owner 1:5 instead of 0:5"]),
        (HASH.encode(), b"0" * 64, ["/a/f: another content"]),
        (b"->a/f", b"->b/f", ["/l: another target"]),
        (b"/l\t", b"/m\t", ["/l: missing", "/m: not in the image"]),
        (b"", b"", []),
    ],
)
def test_differences_name_the_path_and_the_aspect(old: bytes, new: bytes, told: list[str]) -> None:
    assert differences(BASE, BASE.replace(old, new) if old else BASE) == told


def test_ownership_can_be_left_out() -> None:
    assert differences(BASE, BASE.replace(b"\t0:5\t", b"\t7:7\t"), ignore_ownership=True) == []


def test_one_path_stays_one_line() -> None:
    assert escape(b"a\tb\nc\\d\x7f\xc3\xa9") == b"a\\x09b\\x0ac\\x5cd\\x7f\xc3\xa9"


def add(tar: tarfile.TarFile, name: str, data: bytes | None = None, **fields: object) -> None:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    if data is None:
        tar.addfile(member)
    else:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def test_an_archive_gives_the_manifest_that_root_would_unpack(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "./", type=tarfile.DIRTYPE, mode=0o755)
        add(tar, "./l", type=tarfile.SYMTYPE, linkname="a/f", mode=0)
        add(tar, "./a", type=tarfile.DIRTYPE, mode=0o755)
        add(tar, "./a/f", b"hi", mode=0o4755, gid=5)
        add(tar, "./a-hard", type=tarfile.LNKTYPE, linkname="./a/f")
        add(tar, "./proc", type=tarfile.DIRTYPE, mode=0o555)
        add(tar, "./proc/x", b"left out")
    found = manifest_of_tar(tmp_path / "a.tar", ("/proc",))
    # Sorted by components: what lies in /a comes before /a-hard, though "-" is before "/".
    hard = f"/a-hard\t104755\t0:5\t2\t{HASH}\n".encode()
    assert found == BASE.replace(b"/l\t", hard + b"/l\t")
