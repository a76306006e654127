"""A machine of the lab for one use: from its disk or its snapshot, to its end, with proofs.

Booting takes a minute or two in software; going on from the state of a machine that was up
takes seconds. So the first use of a disk boots it, saves its state beside it, and every use
starts from there, each on an overlay of its own. An overlay that is kept, and is there already,
is booted from, as after a loss of power.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness import paths, process
from harness.clock import Deadline
from harness.errors import CommandFailed, EnvironmentRefused
from harness.image.cache import finish, locked, partial_directory
from harness.image.forms import overlay_disk
from harness.inventory import Inventory, sweep
from harness.lab import project
from harness.lab.build import Built, build
from harness.lab.machine import CPU, Boot, Machine, Sockets, require_tools, start
from harness.lab.recipe import PROJECT, Profile, kernel_words
from harness.lab.session import Session
from harness.paths import JOURNAL
from harness.runner import make_report

BOOT_LIMIT_S = 600.0
_RESTORE_LIMIT_S = 120.0
_END_S = 60.0
_WARM_S = 540
_SAVED = "saved.json"
PROOF_FOLDER = "lab"
REPORT = "report.html"


@dataclass(frozen=True)
class Wish:
    """What is asked of a use: a profile, its memory, and a disk that is to be kept, or none."""

    profile: Profile
    memory_bytes: int
    keep: Path | None = None
    boot_limit_s: float = BOOT_LIMIT_S
    tell: Callable[[str], None] = field(default=lambda _: None)


class Saved(msgspec.Struct, frozen=True):
    """What is known of a machine whose state was saved."""

    flags: list[str]


@contextmanager
def session(wish: Wish) -> Iterator[Session]:
    """A way into a machine that is up, with today's checkout in it."""
    require_tools(wish.memory_bytes)
    built = build(paths.cache(), wish.profile.disk, wish.tell)
    token = secrets.token_hex(4)
    with Inventory(f"lab-{token}") as inventory:
        try:
            with ExitStack() as stack:
                folder, sockets = _make_folders(token, inventory)
                machine, flags = stack.enter_context(
                    _machine(token, wish, built, folder, sockets, inventory)
                )
                _require_flags(wish.profile, flags)
                opened = Session(machine, built, machine.ssh_port(), wish.profile)
                opened.put_project(project.archive(), time.time())
                yield opened
                if wish.keep is not None:
                    opened.read("sync")
                machine.quit(Deadline(_END_S))
        finally:
            sweep(inventory)


def _make_folders(token: str, inventory: Inventory) -> tuple[Path, Sockets]:
    state, scratch = paths.run_state(token), paths.scratch(token)
    for folder in (state, scratch):
        inventory.will_make("directory", str(folder))
        folder.parent.mkdir(parents=True, exist_ok=True)
        paths.make_private(folder)
    return scratch, Sockets(state)


@contextmanager
def _machine(
    token: str, wish: Wish, built: Built, folder: Path, sockets: Sockets, inventory: Inventory
) -> Iterator[tuple[Machine, Sequence[str]]]:
    """A machine that is up, and the flags of its processor."""
    boot = boot_of(wish, built)
    disk = (wish.keep or folder / "disk.qcow2").absolute()
    if disk.exists():
        with start(token, boot, disk, sockets, inventory) as machine:
            yield machine, machine.wait_up(Deadline(wish.boot_limit_s))
        return
    saved = _saved(token, wish, built, boot, folder, inventory)
    overlay_disk(saved / "disk.qcow2", disk, "qcow2")
    shutil.copyfile(saved / "console.log", sockets.console)  # it goes on from there
    with start(token, boot, disk, sockets, inventory, restored=True) as machine:
        machine.restore(saved / "state", Deadline(_RESTORE_LIMIT_S))
        yield machine, msgspec.json.decode((saved / _SAVED).read_bytes(), type=Saved).flags


def boot_of(wish: Wish, built: Built) -> Boot:
    """What a profile's machine is started from."""
    words = " ".join(kernel_words("hvc0" if wish.profile.hypervisor else "ttyS0"))
    kernel, initrd = built.kernel, str(built.initrd)
    if wish.profile.hypervisor:  # a multiboot kernel, and a list of modules with their words
        kernel, initrd = built.hypervisor, f"{kernel} {words},{initrd}"
        words = wish.profile.hypervisor
    return Boot(kernel, initrd, words, wish.memory_bytes, min(2, len(os.sched_getaffinity(0))))


def _saved(
    token: str, wish: Wish, built: Built, boot: Boot, folder: Path, inventory: Inventory
) -> Path:
    """The folder with the state of such a machine once it was up; booted now if need be."""
    final = built.directory / "states" / _state_key(boot)
    if final.is_dir():
        return final
    if not os.access(built.directory, os.W_OK):
        raise EnvironmentRefused(
            f"no machine of this kind was saved in {built.directory}, which is another user's",
            f"sudo tarebench lab build --profile {wish.profile.name}",
        )
    with locked(built.directory / ".lock"):
        if final.is_dir():
            return final
        wish.tell("booting the lab for the first time; later uses go on from here")
        with partial_directory(final) as partial:
            sockets = Sockets(folder / "first")
            paths.make_private(sockets.folder)
            disk = partial / "disk.qcow2"
            overlay_disk(built.base, disk)
            with start(f"{token}-first", boot, disk, sockets, inventory) as machine:
                flags = machine.wait_up(Deadline(wish.boot_limit_s))
                opened = Session(machine, built, machine.ssh_port(), wish.profile)
                (partial / "warm.txt").write_bytes(_warm(opened, wish))
                machine.save(partial / "state", Deadline(_RESTORE_LIMIT_S))
            shutil.copyfile(sockets.console, partial / "console.log")
            (partial / _SAVED).write_bytes(msgspec.json.encode(Saved(list(flags))))
            finish(partial, final)
    return final


def _warm(opened: Session, wish: Wish) -> bytes:
    """What takes a use long to find out is found out here, and remembered by the machine.

    Returns what the commands said; that one fails is for the use to tell. What was written is on
    the disk before it is saved, so that it is there too where the disk is booted from later.
    """
    if wish.profile.disk.warm:
        opened.put_project(project.archive(), time.time())
    said = b""
    for line in wish.profile.disk.warm:
        wish.tell(f"in the lab: {line}")
        limited = f"cd {PROJECT} && PATH={PROJECT}/.venv/bin:$PATH timeout {_WARM_S} {line}"
        said += opened.read(limited, check=False)
    opened.read("sync")
    return said


def _state_key(boot: Boot) -> str:
    """A state fits the machine, and the QEMU, that it was saved by."""
    qemu = process.find_program("qemu-system-x86_64")
    stat = Path(qemu).stat() if qemu else None
    parts = (str(boot), CPU, stat and (stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _require_flags(profile: Profile, flags: Sequence[str]) -> None:
    missing = [flag for flag in profile.flags if flag not in flags]
    if missing:
        raise EnvironmentRefused(
            f"the processor that this QEMU emulates lacks {' and '.join(missing)}, which the "
            f"profile {profile.name} needs",
            "QEMU 7.2 or newer emulates AMD's virtualization",
        )


def run(wish: Wish, argv: Sequence[str], limit_s: float) -> int:
    """Run a command in a fresh machine; its runs are brought back, with what proves the lab."""
    with session(wish) as opened:
        try:
            return opened.call(argv, Deadline(limit_s))
        finally:
            if opened.machine.child.is_running():
                _bring_back(opened, wish)


def _bring_back(opened: Session, wish: Wish) -> None:
    """The runs, each with the lines that prove what ran inside, the machine's console, and the
    report, unless it was drawn inside since."""
    folders = opened.fetch_runs(paths.results())
    if not folders:
        return
    proof = opened.proofs(wish.profile.proofs)
    for folder in folders:
        place = folder / PROOF_FOLDER
        place.mkdir(exist_ok=True)
        (place / "proof.txt").write_text(proof)
        (place / "console.txt").write_text(opened.machine.console_text())
        if _is_newer(folder / JOURNAL, folder / REPORT):
            _draw(folder, wish)
        wish.tell(f"run: {folder}")


def _is_newer(one: Path, other: Path) -> bool:
    """Whether a file is there, and younger than another that need not be."""
    return one.exists() and not (other.exists() and other.stat().st_mtime >= one.stat().st_mtime)


def _draw(folder: Path, wish: Wish) -> None:
    """Of a run that had hardly begun there is no report, and that is no fault of the command's."""
    try:
        make_report(folder)
    except CommandFailed as error:
        wish.tell(f"no report: {error.message}")
