"""The image for real: the agent's manifest, two builds with one digest, a guest that boots."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from harness import process
from harness.image import forms, store
from harness.image.agent import build_agent
from harness.image.build import build, derive_manifest, unpack, verify_image
from harness.image.guest import guest_kernel
from harness.image.manifest import digest_of, manifest_of_tar
from harness.model import Image

pytestmark = pytest.mark.integration

ESCAPED = {chr(byte): f"\\x{byte:02x}" for byte in (*range(32), 127, ord("\\"))}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_agent(tmp_path_factory.mktemp("agent"))


def escaped(name: str) -> str:
    return "".join(ESCAPED.get(character, character) for character in name)


def walk(root: Path, inside: str = "") -> list[str]:
    """The manifest by other means than the agent's: os.lstat and hashlib."""
    lines = []
    folder = root / inside.lstrip("/")
    for name in sorted((file.name for file in folder.iterdir()), key=os.fsencode):
        path = f"{inside}/{name}"
        file = root / path.lstrip("/")
        status = file.lstat()
        size, content = 0, "-"
        if stat.S_ISREG(status.st_mode):
            size = status.st_size
            content = hashlib.sha256(file.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = "->" + escaped(str(file.readlink()))
        owner = f"{status.st_uid}:{status.st_gid}"
        lines.append(f"{escaped(path)}\t{status.st_mode:o}\t{owner}\t{size}\t{content}\n")
        if stat.S_ISDIR(status.st_mode):
            lines += walk(root, path)
    return lines


def odd_tree(root: Path) -> None:
    """Names, types and modes that a manifest could stumble over."""
    (root / "a").mkdir(parents=True)
    (root / "a" / "tab\there").write_bytes(b"1")
    (root / "a-b").write_bytes(b"sorted after what is in a")
    (root / "new\nline").write_bytes(b"")
    (root / "back\\slash é").write_bytes(os.urandom(300_000))
    (root / "setuid").write_bytes(b"x")
    (root / "setuid").chmod(0o4755)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "link").symlink_to("a/tab\there")
    (root / "dangling").symlink_to("/nowhere")
    os.mkfifo(root / "fifo", 0o640)
    for length in (55, 56, 63, 64, 65, 119, 128):  # where SHA-256 pads to another block
        (root / f"length{length}").write_bytes(b"z" * length)


def test_the_agent_and_an_independent_walk_agree(agent: Path, tmp_path: Path) -> None:
    odd_tree(tmp_path / "root")
    found = derive_manifest(tmp_path / "root", agent, ())
    assert found.decode() == "".join(walk(tmp_path / "root"))


def test_what_is_excluded_is_left_out_with_all_below(agent: Path, tmp_path: Path) -> None:
    odd_tree(tmp_path / "root")
    found = derive_manifest(tmp_path / "root", agent, ("/a", "/setuid"))
    left_out = ("/a\t", "/a/", "/setuid\t")
    kept = [line for line in walk(tmp_path / "root") if not line.startswith(left_out)]
    assert found.decode() == "".join(kept)


def test_an_archive_says_the_same_as_the_tree_that_it_unpacks_to(
    agent: Path, tmp_path: Path
) -> None:
    odd_tree(tmp_path / "root")
    archive = tmp_path / "a.tar"
    process.run(["tar", "-C", tmp_path / "root", "-cf", archive, "."])
    unpack(archive, tmp_path / "again")
    assert manifest_of_tar(archive) == derive_manifest(tmp_path / "again", agent, ())


def test_the_agent_is_compiled_once(tmp_path: Path) -> None:
    first = build_agent(tmp_path)
    before = first.stat()
    assert build_agent(tmp_path) == first
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    other = build_agent(tmp_path / "other")
    assert other.read_bytes() == first.read_bytes()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    return build(tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
def test_two_builds_have_one_digest(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = image.directory.parent.parent
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    mask = os.umask(0o077)
    try:
        again = build(cache, refresh=True)
    finally:
        os.umask(mask)
    assert again.digest == image.digest
    assert store.find(cache) == image
    assert digest_of(image.manifest.read_bytes()) == image.digest
    verify_image(image)
    folders = [path.name for path in image.directory.parent.iterdir()]
    assert not [name for name in folders if name.startswith(".partial")]


@pytest.mark.slow
def test_the_disk_holds_the_image(image: Image, tmp_path: Path) -> None:
    disk = forms.ext4(image)
    process.run(["e2fsck", "-fn", disk])
    told = process.run(["debugfs", "-R", "stat /usr/bin/passwd", disk]).stdout.decode()
    assert "Mode:  04755" in told
    assert "User:     0" in told
    forms.overlay_disk(disk, tmp_path / "o.qcow2")
    assert forms.ext4(image) == disk


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["q35", "microvm"])
def test_a_guest_says_ready(image: Image, tmp_path: Path, machine: str) -> None:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None or os.uname().machine != "x86_64":
        pytest.skip("no QEMU for this machine")
    kernel = guest_kernel(image.directory.parent.parent)
    disk = tmp_path / "o.qcow2"
    forms.overlay_disk(forms.ext4(image), disk)
    bus = "pci" if machine == "q35" else "device"
    path = os.path.relpath(tmp_path / "channel")  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(90)
        argv = [
            qemu, "-M", machine, "-accel", "tcg", "-m", "128", "-nodefaults", "-display", "none",
            "-no-user-config", "-no-reboot", "-kernel", str(kernel.boot_file),
            "-initrd", str(forms.initramfs(image, kernel)),
            "-append", f"quiet panic=-1 reboot=t {tsc_arguments()} -- virtio:org.tarebench.0",
            "-drive", f"id=disk,if=none,file={disk},format=qcow2",
            "-device", f"virtio-blk-{bus},drive=disk", "-chardev", f"socket,id=c,path={path}",
            "-device", f"virtio-serial-{bus}",
            "-device", "virtserialport,chardev=c,name=org.tarebench.0",
        ]  # fmt: skip
        with process.spawn(argv):
            channel, _ = listener.accept()
            with channel:
                channel.settimeout(90)
                assert channel.recv(8, socket.MSG_WAITALL) == b"REDY\0\0\0\0"


def tsc_arguments() -> str:
    """Without them a microvm under TCG hangs now and then in its TSC calibration."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("bogomips"):
            khz = int(float(line.split(":")[1]) * 500)
            return f"tsc=reliable no_timer_check tsc_early_khz={khz} lpj={khz * 4}"
    return ""
