"""Two hosts beside each other: what they are, how they were set, and how noisy they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis import conditions
from harness.analysis.frames import RunData
from harness.analysis.summary import BLOCK, MACHINES, class_of
from harness.analysis.unlike import ABSENT, Unlike, differ, plain

_MEMORY = ("memory.", "density.slope", "density.slope_host", "density.remainder")


@dataclass(frozen=True)
class Fact:
    """A fact of the host: what its difference does, and where it does more than qualify.

    `refused` are the metrics that it makes another quantity, of machines alone with `machines`.
    """

    key: str
    name: str
    text: str
    refused: tuple[str, ...] | None = None
    machines: bool = False


_HOST = (
    Fact("architecture", "architecture", "Another processor architecture: other programs.", ()),
    Fact("cpu_model", "cpu", "Another processor: the difference holds that of the machines."),
    Fact("threads", "cpus", "Another number of processors."),
    Fact("memory_bytes", "memory_size", "Another amount of memory."),
    Fact("virtualization", "nesting", "The hosts differ in what they themselves run on.",
          (), machines=True),
    Fact("kernel", "kernel", "Another host kernel."),
    Fact("kernel_parameters", "kernel_parameters", "The kernel was started in another way."),
    Fact("os", "os", "Another operating system."),
    Fact("cgroup", "cgroups", "Control groups v1 and v2 charge kernel memory and page cache "
          "differently.", _MEMORY),
    Fact("cache_filesystem", "filesystem", "The images lie on another filesystem."),
)  # fmt: skip

_SETTINGS = (
    Fact("ksm", "ksm", "Same-page merging changes what a guest's memory costs.", _MEMORY,
          machines=True),
    Fact("thp", "thp", "Huge pages change how much memory a touched page takes."),
    Fact("governor", "governor", "The frequency governor changes all short work."),
    Fact("turbo", "turbo", "Turbo changes all computing."),
    Fact("smt", "smt", "Two threads on a core share it."),
    Fact("clocksource", "clocksource", "Reading the time costs more or less."),
    Fact("mitigations", "mitigations", "Mitigations set the price of system calls and exits."),
    Fact("nx_huge_pages", "nx_huge_pages", "KVM splits huge pages, or does not.",),
    Fact("favordynmods", "favordynmods", "Moving into a control group waits, or does not."),
    Fact("damon", "damon", "The kernel takes back idle pages by itself, or does not."),
    Fact("swap", "swap", "One host can swap."),
)  # fmt: skip
"""Guards whose value is a setting of the host; those that move are looked at by severity."""

_ELSEWHERE = frozenset({"nesting", "accelerator", "canary", "cgroups", *(f.key for f in _SETTINGS)})


def hosts(base: RunData, new: RunData, both: Sequence[str]) -> Iterator[Unlike]:
    """Facts of the two hosts that differ; `both` are the runtimes that both runs have."""
    old, fresh = base.manifest.get("host", {}), new.manifest.get("host", {})
    for fact in _HOST:
        yield from _fact(fact, old.get(fact.key), fresh.get(fact.key), base, both)
    was, now = bool(old.get("emulated")), bool(fresh.get("emulated"))
    if was != now:
        yield Unlike(
            "emulated_host", True, plain(was), plain(now),
            "One host's processor is software.",
        )  # fmt: skip


def settings(base: RunData, new: RunData, both: Sequence[str]) -> Iterator[Unlike]:
    """Settings that differ, and what made one of the runs noisier than the other."""
    old, fresh = ({g.name: g for g in conditions.guards(run)} for run in (base, new))
    for fact in _SETTINGS:
        was, now = (_setting(fact.key, found) for found in (old, fresh))
        if not _says_more(was, now) and not _says_more(now, was):
            yield from _fact(fact, was, now, base, both)
    for name in dict.fromkeys([*old, *fresh]):
        severe = [name in found and found[name].severity != conditions.INFO
                  for found in (old, fresh)]  # fmt: skip
        blocks = any(name in found and found[name].severity == BLOCK for found in (old, fresh))
        if name not in _ELSEWHERE and not blocks and severe[0] != severe[1]:
            was, now = (found[name].value if name in found else ABSENT for found in (old, fresh))
            guard = fresh[name] if severe[1] else old[name]
            yield Unlike(name, False, was, now, guard.text)


def _setting(name: str, guards: Mapping[str, conditions.Guard]) -> str | None:
    """The part of a guard's value that is a setting and does not move by itself."""
    if name not in guards:
        return "off" if name == "damon" and guards else None
    value = guards[name].value
    return value.partition(",")[0] if name in ("ksm", "swap") else value


def _says_more(text: str | None, other: str | None) -> bool:
    """Whether a text is the other with a detail more: an older version recorded less."""
    return text is not None and other is not None and text.startswith(f"{other}, ")


def _fact(
    fact: Fact, was: object, now: object, base: RunData, both: Sequence[str]
) -> Iterator[Unlike]:
    if not differ(was, now):
        return
    sides = plain(was), plain(now)
    yield Unlike(fact.name, False, *sides, fact.text)
    if fact.refused is not None:
        boxes = [r for r in both if class_of(base, r)[0] in MACHINES] if fact.machines else [""]
        for runtime in boxes:
            yield Unlike(fact.name, True, *sides, fact.text, runtime, fact.refused)
