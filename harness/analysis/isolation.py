"""The isolation matrix: facts in rows, boxes in columns, each answer in words and as a share.

A share says how much of what bare metal has the box has too: 1 is all of the host's, 0 none.
It orders nothing and is never added up; a chart shades by it. The rows, and the sentence that
explains each, stand here once for the report, the terminal and every language. Nothing here
needs a data frame, so that a terminal's table costs no more than the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.analysis.language import later, recorded, say, strung
from harness.model import Outcome, RuntimeClass, TrialRecord

if TYPE_CHECKING:
    from harness.analysis.frames import RunData
    from harness.analysis.summary import RuntimeRow

PREFIX = "isolation."
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time")
"""From the most to the least used."""

_OF_THE_KERNEL = ("capabilities", "calls")
"""Counts of what a kernel gives: with its own, a box has nothing of the host's by them."""

_GRANTED = "granted: "
"""How the words begin that say that a kernel granted it (harness/probes/isolation.py)."""

_ORDER = [each.value for each in RuntimeClass]


@dataclass(frozen=True)
class Box:
    """One runtime's facts: all values that its trials gave, and the words of the last.

    Keys are the metric's name without its prefix and the values of its dimensions, joined by
    dots: `capabilities.effective.root`.
    """

    runtime: str
    runtime_class: str
    emulated: bool = False
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_kernel(self) -> bool:
        """Whether what it does to a kernel, it does to its own."""
        return bool(self.value("kernel"))

    def value(self, key: str) -> float | None:
        """What the last trial gave; None where it could not be found out."""
        return self.values[key][-1] if self.values.get(key) else None


@dataclass(frozen=True)
class Cell:
    """One answer, `sign` short enough for a chart. `share` is None where nothing is known, and
    where the answer says nothing of the host, because it is about the box's own kernel."""

    text: str
    share: float | None = None
    sign: str = ""


@dataclass(frozen=True)
class Row:
    """One fact: `title` names it, `why` says in a sentence what it means."""

    key: str
    title: str
    why: str
    answer: Callable[[str, Box, float], Cell]


def _unknown(key: str, box: Box) -> Cell:
    why = box.words.get(key, "")
    return Cell(say("not known: {why}", why=recorded(why)) if why else "–", None, "–")


def _kernel(key: str, box: Box, most: float) -> Cell:
    if box.value(key) is None:
        return _unknown(key, box)
    release = box.words.get(key, "").partition(" ")[0]
    if box.own_kernel:
        return Cell(say("its own: {release}", release=release), 0.0, "○")
    return Cell(say("the host’s"), 1.0, "●")


def _namespaces(key: str, box: Box, most: float) -> Cell:
    found = {name: box.value(f"{key}.{name}") for name in NAMESPACES}
    known = {name: value for name, value in found.items() if value is not None}
    if not known:
        return Cell("–", None, "–")
    own = [name for name, value in known.items() if value]
    share = 1 - len(own) / len(known)
    if box.own_kernel:
        return Cell(say("all, with its kernel"), 0.0, "○")
    return Cell(strung(own) if own else say("none"), share, str(len(own)))


def _yes(key: str, box: Box, most: float) -> Cell:
    """A fact that keeps apart: yes is little of the host's."""
    value = box.value(key)
    if value is None:
        return _unknown(key, box)
    share = None if box.own_kernel else 1.0 - value
    return Cell(say("yes") if value else say("no"), share, "○" if value else "●")


def _limits(key: str, box: Box, most: float) -> Cell:
    """Which control groups; the host's, whatever kernel runs in them."""
    value, words = box.value(key), box.words.get(key, "")
    if value is None:
        return _unknown(key, box)
    return Cell(words or say("yes"), 0.0, "○") if value else Cell(say("no"), 1.0, "●")


def _profile(key: str, box: Box, most: float) -> Cell:
    found, words = _yes(key, box, most), box.words.get(key, "")
    return replace(found, text=words) if box.value(key) and words else found


def _may(key: str, box: Box, most: float) -> Cell:
    """A power over the host: yes is all of it. Without, what refused it, if anything did."""
    value, words = box.value(key), box.words.get(key, "")
    if value is None:
        return _unknown(key, box)
    if value:
        return Cell(say("yes"), 1.0, "●")
    if box.own_kernel and words.startswith(_GRANTED):
        return Cell(say("its own only"), 0.0, "○")
    return Cell(say("no ({why})", why=words) if words else say("no"), 0.0, "○")


def _root(key: str, box: Box, most: float) -> Cell:
    value, outside = box.value(key), box.words.get(key, "")
    if value is None:
        return _unknown(key, box)
    if value:
        return Cell(say("yes"), 1.0, "●")
    if box.own_kernel:
        return Cell(say("no, of its own kernel"), 0.0, "○")
    return Cell(say("no, user {number}", number=outside) if outside else say("no"), 0.0, "○")


def _count(key: str, box: Box, most: float) -> Cell:
    """How many of the host's; the most that any box of the run has is all of them."""
    values = box.values.get(key)
    if not values:
        return _unknown(key, box)
    low, high = min(values), max(values)
    text = f"{low:g}" if low == high else say("{low:g} to {high:g}", low=low, high=high)
    of_host = key.partition(".")[0] not in _OF_THE_KERNEL or not box.own_kernel
    share = values[-1] / most if most else 0.0
    return Cell(text, share if of_host else None, f"{values[-1]:g}")


ROWS: tuple[Row, ...] = (
    Row("kernel", later("Kernel"), later(
        "Told by the kernel’s random number of this boot, else by release and build. What shares "
        "the host’s kernel shares its faults too."), _kernel),
    Row("namespace", later("Namespaces of its own"), later(
        "Of eight kinds, those whose number is not that of the host’s. A namespace is a view of "
        "its own: of mounts, processes, network, queues, names, control groups, users, clocks. "
        "tarebench mounts a jail’s folders in a namespace of its own, so that they go with it."),
        _namespaces),
    Row("root", later("Root inside is root outside"), later(
        "By the map of user numbers. Where it is, only what stands below keeps root from being "
        "the host’s."), _root),
    Row("capabilities.effective.root", later("Capabilities of root"), later(
        "The parts that root’s power is cut into, as many as root inside has. With its own "
        "kernel, root has them there and nowhere else."), _count),
    Row("capabilities.bounding.user", later("Capabilities within reach of the user"), later(
        "The bounding set: what a program with rights of its own (setuid) could give to the "
        "user that jobs run as."), _count),
    Row("no_new_privs", later("No new privileges"), later(
        "Set, no program that is executed can have more rights than its caller: setuid is "
        "without effect."), _yes),
    Row("seccomp", later("Filter on system calls"), later(
        "Whether a seccomp filter decides about each system call, before the kernel does."), _yes),
    Row("calls.root", later("System calls that answer root"), later(
        "Each call is made once with impossible arguments. It answers if the refusal is about "
        "these; not if it is forbidden (EPERM), missing (ENOSYS), or ends the caller. Calls "
        "that could do harm even so are not made."), _count),
    Row("calls.user", later("System calls that answer the user"), later(
        "The same as the user that jobs run as: what needs rights is forbidden here as well."),
        _count),
    Row("lsm", later("Security profile"), later(
        "The profile of AppArmor, SELinux or another such module, where the kernel has one."),
        _profile),
    Row("processes.root", later("Processes of the host seen"), later(
        "How many processes stand in /proc, where a certain one that runs outside is among "
        "them; 0 where it is not."), _count),
    Row("devices.root", later("Devices of the host for root"), later(
        "Nodes in /dev that may be read or written, by access(2), which asks permissions and "
        "device groups and opens nothing. Those that every box needs (null, zero, random, "
        "terminals) are not counted."), _count),
    Row("devices.user", later("Devices of the host for the user"), later(
        "The same as the user that jobs run as."), _count),
    Row("disk.root", later("Open a disk of the host for writing"), later(
        "Root makes a node of a block device that the harness itself can open, and opens it. "
        "Nothing is written."), _may),
    Row("mounts", later("Mounts of the host’s filesystems"), later(
        "Mounts in the box whose device number is in the host’s own table: files bound into "
        "the box, and the kernel’s own filesystems where they are not made anew."), _count),
    Row("log.root", later("Kernel log, for root"), later(
        "Whether the log of the host’s kernel can be read, which tells addresses and devices."),
        _may),
    Row("log.user", later("Kernel log, for the user"), later(
        "The same as the user that jobs run as; kernel.dmesg_restrict decides."), _may),
    Row("keys.root", later("Keys of the host’s root"), later(
        "Whether a key that a process outside holds in the kernel is seen. Keyrings belong to "
        "users and not to namespaces, so nothing but a filter, or another user, hides them."),
        _may),
    Row("interfaces", later("Network interfaces of the host"), later(
        "How many are seen where the network namespace is the host’s; 0 with one of its own."),
        _count),
    Row("loopback.user", later("The host’s loopback"), later(
        "Whether a listener on 127.0.0.1 of the host is reached, which says a word that only "
        "this trial knows. Services often trust whoever comes from there."), _may),
    Row("module.root", later("Load a kernel module"), later(
        "An empty module is offered, which no kernel takes. Who lacks the right is told so "
        "(EPERM) before the module is looked at; ENOSYS is a kernel without modules."), _may),
    Row("clock.root", later("Change the clock"), later(
        "A clock is asked to tick zero times a second, which no kernel does. Who lacks the "
        "right is told so before."), _may),
    Row("limits", later("Control groups of its own"), later(
        "Which hierarchies the host keeps the box in, as the host sees them: what holds its "
        "CPU, memory and number of processes. A machine’s are those of its VMM."), _limits),
    Row("escape", later("Classic escape from a chroot"), later(
        "Root inside makes a second jail, steps beside it and climbs up. Only the content of a "
        "file that lies outside, and that only this trial knows, counts as an escape. "
        "Everything in the box is thrown away after it."), _may),
)  # fmt: skip


def boxes(found: Iterable[Box]) -> list[Box]:
    """Those that have a fact, grouped by class, in the order in which they came."""
    known = [box for box in found if box.values]
    return sorted(known, key=lambda box: _ORDER.index(box.runtime_class)
                  if box.runtime_class in _ORDER else len(_ORDER))  # fmt: skip


def of_records(records: Iterable[TrialRecord]) -> list[Box]:
    """The boxes of a run's stored records."""
    values: dict[str, dict[str, tuple[float, ...]]] = {}
    last: dict[str, TrialRecord] = {}
    for record in records:
        if record.experiment != "isolation" or record.outcome is not Outcome.OK or record.warmup:
            continue
        own = values.setdefault(record.runtime, {})
        for sample in record.samples:
            key = _key(sample.metric, sample.dimensions.values())
            own[key] = (*own.get(key, ()), sample.value)
        last[record.runtime] = record
    return boxes(
        Box(
            name, record.runtime_class, record.runtime_class == RuntimeClass.EMULATED,
            values[name], _words(record.conditions),
        )
        for name, record in last.items()
    )  # fmt: skip


def of_run(run: RunData, rows: Sequence[RuntimeRow]) -> list[Box]:
    """The boxes of a run that is read."""
    values: dict[str, dict[str, tuple[float, ...]]] = {}
    for series in run.series():
        if series.metric.startswith(PREFIX):
            key = _key(series.metric, series.dimensions.values())
            values.setdefault(series.runtime, {})[key] = tuple(map(float, run.exactly(series)))
    return boxes(
        Box(
            row.runtime, row.runtime_class, row.emulated, values.get(row.runtime, {}),
            _words(run.last_conditions("isolation", row.runtime)),
        )
        for row in rows
    )  # fmt: skip


def _key(metric: str, dimensions: Iterable[str]) -> str:
    return ".".join([metric.removeprefix(PREFIX), *dimensions])


def _words(conditions: Mapping[str, object]) -> Mapping[str, str]:
    return {
        key.removeprefix(PREFIX): str(value)
        for key, value in conditions.items()
        if key.startswith(PREFIX)
    }


def matrix(found: Sequence[Box]) -> Sequence[tuple[Row, tuple[Cell, ...]]]:
    """Every row that any box can tell something of, with an answer of each."""
    made = []
    for row in ROWS:
        most = max((box.value(row.key) or 0.0 for box in found if not box.own_kernel), default=0.0)
        cells = tuple(row.answer(row.key, box, most) for box in found)
        if any(cell.text != "–" for cell in cells):
            made.append((row, cells))
    return made


def silent_calls(box: Box, bare: Box | None, key: str = "calls.root") -> str:
    """The system calls that do not answer here; where bare metal was asked too, those that do
    there. In the record's own words, each kind of silence by name."""
    known = set(_names(bare.words.get(key, ""))) if bare is not None and bare is not box else set()
    parts = []
    for part in filter(None, box.words.get(key, "").split("; ")):
        kind, _, names = part.partition(": ")
        left = [name for name in names.split(", ") if name not in known]
        parts += [f"{kind}: {', '.join(left)}"] if left else []
    return "; ".join(parts)


def _names(words: str) -> list[str]:
    return [name for part in words.split("; ") for name in part.partition(": ")[2].split(", ")]


def alike(found: Sequence[Box], cells: Sequence[Cell]) -> Sequence[tuple[str, tuple[str, ...]]]:
    """One row the other way round: each answer once, with the boxes that gave it."""
    answers: dict[str, tuple[str, ...]] = {}
    for box, cell in zip(found, cells, strict=True):
        answers[cell.text] = (*answers.get(cell.text, ()), box.runtime)
    return sorted(answers.items(), key=lambda each: -len(each[1]))
