"""Guards: conditions of this host that can make a comparison unfair, recorded with every run.

Nothing is changed here, only read. Each guard says in one sentence what it can do to which
number. Its severity is `info` for what merely has to be known, `warn` for what can mislead,
and `block` for what forbids a verdict. What this kernel does not tell has no guard.

Reading and judging are apart: `read` takes the texts below a root folder, and every judgement
is a pure function of such texts.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness import cpuid
from harness.model import Frozen
from harness.probes import cpu, host
from harness.probes.cgroups import Layout
from harness.probes.memory import parse_kib, swapped_pages

INFO, WARN, BLOCK = "info", "warn", "block"

_CPU = "sys/devices/system/cpu"
_MM = "sys/kernel/mm"
_CLOCK = "sys/devices/system/clocksource/clocksource0"
_JITTER_S = 0.2
_LOOP_STEPS = 4000
_STEAL_WARN = 0.01
_LOAD_WARN = 0.5
_PRESSURE_WARN = 10.0
_JITTER_WARN = 1.5
_HOT_MILLIDEGREES = 85_000
_CAP_SYS_NICE = 23
_GOOD_CLOCKS = frozenset({"tsc", "arch_sys_counter"})


class Guard(Frozen, frozen=True):
    """A recorded condition that can make a comparison unfair; `remedy` quietens it."""

    name: str
    value: str
    severity: str
    text: str
    remedy: str = ""


_TUNE = "tarebench doctor --tune (and --untune afterwards)"
_REMEDIES: Mapping[str, str] = {
    "battery": "connect it to the mains",
    "clocksource": "boot with `tsc=reliable`, or let the hypervisor offer a better clock",
    "damon": "echo N > /sys/module/damon_reclaim/parameters/enabled (its module's name may differ)",
    "governor": _TUNE,
    "jitter": "end other work, or use a dedicated machine",
    "ksm": _TUNE,
    "load": "wait a minute after other work has ended",
    "mitigations": "boot without `mitigations=` on the kernel's command line",
    "nesting": "measure on hardware that is not itself a virtual machine",
    "placement": "start it without `taskset`, and outside of a cpuset",
    "pressure_cpu": "end other work",
    "pressure_io": "wait until writing has ended (`sync`), or use another disk",
    "pressure_memory": "free memory",
    "steal": "use a dedicated machine, or another hour",
    "swap": "free memory, or `swapoff -a` where enough of it is free",
    "temperature": "let it cool down, and see to its air",
    "throttling": "let it cool down, and see to its air; turbo off (--tune) helps",
    "thp": _TUNE,
}
"""What to do about a guard that warns or blocks."""


@dataclass(frozen=True)
class View:
    """The texts of a host below a root folder, two readings of what moves, and what the
    processor says of the hypervisor."""

    root: Path = Path("/")
    loops_ns: Sequence[int] = ()
    swapped_pages: int = 0
    hypervisor_vendor: str | None = None
    cpus: int = field(default_factory=cpu.count)

    def text(self, path: str) -> str | None:
        """A file's text, stripped; None when it is not there, not readable, or empty."""
        try:
            return (self.root / path).read_text(errors="replace").strip() or None
        except OSError:
            return None

    def texts(self, pattern: str) -> Mapping[str, str]:
        """Texts by path of all files that match a pattern."""
        found = {}
        for path in sorted(self.root.glob(pattern)):
            name = str(path.relative_to(self.root))
            if (text := self.text(name)) is not None:
                found[name] = text
        return found


def read() -> Sequence[Guard]:
    """Every guard of this host, now; takes about a fifth of a second to listen to its noise."""
    before = swapped_pages()
    loops = measure_loops(_JITTER_S)
    swapped = swapped_pages() - before
    return judge(
        View(loops_ns=loops, swapped_pages=swapped, hypervisor_vendor=cpuid.hypervisor_vendor())
    )


def judge(view: View) -> Sequence[Guard]:
    """Every guard that a view gives rise to, in a fixed order."""
    return [
        guard
        if guard.severity == INFO
        else msgspec.structs.replace(guard, remedy=_REMEDIES.get(guard.name, ""))
        for rule in _RULES
        for guard in rule(view)
    ]


def _nesting(view: View) -> Iterator[Guard]:
    kind = host.virtualization(
        view.text("proc/cpuinfo") or "",
        " ".join(view.texts("sys/class/dmi/id/*_*").values()),
        (view.text(f"{_CLOCK}/available_clocksource") or "").split(),
        view.text("sys/hypervisor/type"),
        view.hypervisor_vendor,
    )
    if host.is_emulated(kind):
        yield Guard(
            name="nesting", value=kind, severity=BLOCK,
            text="This is an emulated host: its processor is software, so no time taken here says "
            "anything about hardware, and what a virtual machine costs is not decided.",
        )  # fmt: skip
    elif kind == "none":
        yield Guard(
            name="nesting", value=kind, severity=INFO,
            text="This host is not itself a virtual machine, as far as its processor says.",
        )  # fmt: skip
    elif kind is not None:
        yield Guard(
            name="nesting", value=kind, severity=WARN,
            text="This host is itself a virtual machine: bare metal means bare metal inside it, "
            "and every exit of a guest here costs more than on hardware.",
        )  # fmt: skip


def _ksm(view: View) -> Iterator[Guard]:
    run = view.text(f"{_MM}/ksm/run")
    if run == "1":
        shared = view.text(f"{_MM}/ksm/pages_sharing") or "0"
        yield Guard(
            name="ksm", value=f"on, {shared} pages shared", severity=WARN,
            text="Same-page merging is on: memory of virtual machines shrinks with time, and "
            "its scanner takes CPU time from every number.",
        )  # fmt: skip
    elif run is not None:
        yield Guard(
            name="ksm", value="off", severity=INFO,
            text="Same-page merging is off, so equal pages of several guests are counted for "
            "each, where a host with it on would need less memory.",
        )  # fmt: skip


def chosen(text: str) -> str:
    """The word in brackets of a kernel's list of choices; the text itself without brackets."""
    _, opening, rest = text.partition("[")
    return rest.partition("]")[0] if opening else text


def _thp(view: View) -> Iterator[Guard]:
    text = view.text(f"{_MM}/transparent_hugepage/enabled")
    if text is not None:
        defrag = view.text(f"{_MM}/transparent_hugepage/defrag")
        more = f", defrag {chosen(defrag)}" if defrag is not None else ""
        severity = WARN if chosen(text) == "always" else INFO
        yield Guard(
            name="thp", value=chosen(text) + more, severity=severity,
            text="Transparent huge pages decide how much memory a touched page takes: with "
            "`always`, guests start faster and hold more than they touched.",
        )  # fmt: skip


def _governor(view: View) -> Iterator[Guard]:
    found = set(view.texts(f"{_CPU}/cpu[0-9]*/cpufreq/scaling_governor").values())
    if found:
        yield Guard(
            name="governor", value=", ".join(sorted(found)),
            severity=INFO if found == {"performance"} else WARN,
            text="A frequency governor other than `performance` makes short work, such as a "
            "startup, slower after idle time, by an amount that differs from trial to trial.",
        )  # fmt: skip


def _turbo(view: View) -> Iterator[Guard]:
    intel = view.text(f"{_CPU}/intel_pstate/no_turbo")
    boost = view.text(f"{_CPU}/cpufreq/boost")
    if intel is None and boost is None:
        return
    active = intel == "0" if intel is not None else boost == "1"
    yield Guard(
        name="turbo", value="on" if active else "off", severity=INFO,
        text="With turbo on, CPU results depend on how many cores are busy and how warm "
        "they are, so they fall during a long run.",
    )  # fmt: skip


def _smt(view: View) -> Iterator[Guard]:
    active = view.text(f"{_CPU}/smt/active")
    if active is not None:
        yield Guard(
            name="smt", value="on" if active == "1" else "off", severity=INFO,
            text="With two threads on a core, a box that shares its core with another gets "
            "about half of it, which widens every CPU result.",
        )  # fmt: skip


def processors(text: str) -> frozenset[int]:
    """Numbers from the kernel's lists of processors, `0-3,8`."""
    ends = ([int(end) for end in part.split("-")] for part in text.split(","))
    return frozenset(number for end in ends for number in range(end[0], end[-1] + 1))


def _placement(view: View) -> Iterator[Guard]:
    status = dict(re.findall(r"^(\w+):[ \t]*(\S+)$", view.text("proc/self/status") or "", re.M))
    own, online = status.get("Cpus_allowed_list"), view.text(f"{_CPU}/online")
    if own is None or online is None:
        return
    if not processors(online) <= processors(own):
        yield Guard(
            name="placement", value=f"{own} of {online}", severity=WARN,
            text="The harness, and what it starts by itself, may use a part of the processors "
            "only, and what a daemon starts need not keep to them: boxes are not compared on the "
            "same processors.",
        )  # fmt: skip
        return
    raised = int(status.get("CapEff", "0"), 16) >> _CAP_SYS_NICE & 1
    yield Guard(
        name="placement", severity=INFO,
        value=f"left to the scheduler, {'raised' if raised else 'ordinary'} priority of stamps",
        text="Nothing is pinned: the scheduler chooses where the harness, daemons, machine "
        "monitors and workloads run. The thread that stamps READY has a raised priority where "
        "that is allowed.",
    )  # fmt: skip


def _steal(view: View) -> Iterator[Guard]:
    stat = view.text("proc/stat")
    if stat is None:
        return
    share = cpu.steal_share(cpu.parse_stat(stat))
    yield Guard(
        name="steal", value=f"{share:.2%} since boot",
        severity=WARN if share > _STEAL_WARN else INFO,
        text="Time that this machine's hypervisor gave to others lengthens every wall-clock "
        "figure at random.",
    )  # fmt: skip


def _load(view: View) -> Iterator[Guard]:
    text = view.text("proc/loadavg")
    if text is None:
        return
    load = float(text.split()[0])
    yield Guard(
        name="load", value=f"{load:.2f} on {view.cpus} CPUs",
        severity=WARN if load > _LOAD_WARN * view.cpus else INFO,
        text="Other work on this host competes with the boxes: startup times grow, and most for "
        "those runtimes that use many processes.",
    )  # fmt: skip


def pressure(text: str) -> float:
    """The share in percent of the last ten seconds in which something waited (`some avg10`)."""
    for line in text.splitlines():
        if line.startswith("some "):
            fields = dict(word.split("=", 1) for word in line.split()[1:])
            return float(fields["avg10"])
    return 0.0


def _pressures(view: View) -> Iterator[Guard]:
    for kind, what in (("cpu", "a processor"), ("memory", "memory"), ("io", "a disk")):
        text = view.text(f"proc/pressure/{kind}")
        if text is not None and pressure(text) > _PRESSURE_WARN:
            yield Guard(
                name=f"pressure_{kind}", value=f"{pressure(text):.0f} % of the last 10 s",
                severity=WARN,
                text=f"Before the run began, tasks waited for {what}: all times are lengthened "
                "by what else runs here.",
            )  # fmt: skip


def _mitigations(view: View) -> Iterator[Guard]:
    found = view.texts(f"{_CPU}/vulnerabilities/*")
    if not found:
        return
    open_ = [Path(name).name for name, text in found.items() if text.startswith("Vulnerable")]
    words = (view.text("proc/cmdline") or "").split()
    asked = [word.partition("=")[2] for word in words if word.startswith("mitigations=")]
    value = f"mitigations={asked[-1]}" if asked else "kernel's default"
    value += f"; vulnerable: {', '.join(open_)}" if open_ else "; none left vulnerable"
    yield Guard(
        name="mitigations", value=value, severity=WARN if asked and asked[-1] != "auto" else INFO,
        text="CPU mitigations set the price of system calls and of guest exits; a guest whose "
        "kernel has others than this host is compared unfairly in CPU and I/O results.",
    )  # fmt: skip


def _swap(view: View) -> Iterator[Guard]:
    total = parse_kib(view.text("proc/meminfo") or "").get("SwapTotal")
    if total is None:
        return
    value = "none" if not total else f"{total // 2**20} MiB, {view.swapped_pages} pages moved now"
    if total and (swappiness := view.text("proc/sys/vm/swappiness")) is not None:
        value += f", swappiness {swappiness}"
    yield Guard(
        name="swap", value=value, severity=WARN if view.swapped_pages else INFO,
        text="A host that swaps moves memory out of the sight of the ledger, and slows "
        "whoever touches it next.",
    )  # fmt: skip


def _nx_huge_pages(view: View) -> Iterator[Guard]:
    text = view.text("sys/module/kvm/parameters/nx_huge_pages")
    if text is not None:
        yield Guard(
            name="nx_huge_pages", value=text, severity=INFO,
            text="When KVM splits executable huge pages, guests start more slowly and take more "
            "page-table memory than on a host without this mitigation.",
        )  # fmt: skip


def _favordynmods(view: View) -> Iterator[Guard]:
    mounts = [line.split() for line in (view.text("proc/self/mounts") or "").splitlines()]
    groups = [words for words in mounts if len(words) > 3 and words[2].startswith("cgroup")]
    if groups:
        given = any("favordynmods" in words[3].split(",") for words in groups)
        yield Guard(
            name="favordynmods", value="on" if given else "off", severity=INFO,
            text="Without `favordynmods`, moving a process into a control group waits for other "
            "CPUs, which adds milliseconds to the start of containers.",
        )  # fmt: skip


def _damon(view: View) -> Iterator[Guard]:
    modules = view.texts("sys/module/damon_*/parameters/enabled")
    active = [Path(name).parts[2] for name, text in modules.items() if text in ("Y", "1")]
    states = view.texts(f"{_MM}/damon/admin/kdamonds/[0-9]*/state")
    if active or "on" in states.values() or _kernel_thread(view, "kdamond"):
        yield Guard(
            name="damon", value=", ".join(active) or "a kdamond runs", severity=WARN,
            text="The kernel watches memory and may take back idle pages by itself: page cache "
            "cools down between trials, and memory figures fall with waiting.",
        )  # fmt: skip


def _kernel_thread(view: View, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in view.texts("proc/[0-9]*/comm").values())


def _cgroups(view: View) -> Iterator[Guard]:
    mounts = view.root / "proc/self/mounts"
    if not mounts.exists():
        return
    version = Layout.detect(mounts).version
    yield Guard(
        name="cgroups", value=version, severity=INFO,
        text="Control groups v1 and v2 charge kernel memory and page cache differently, so "
        "memory figures are compared only within one layout.",
    )  # fmt: skip


def _clock(view: View) -> Iterator[Guard]:
    current = view.text(f"{_CLOCK}/current_clocksource")
    if current is not None:
        yield Guard(
            name="clocksource", value=current,
            severity=INFO if current in _GOOD_CLOCKS else WARN,
            text="A clock other than the processor's own counter makes each reading of the time "
            "slower, which weighs on programs that ask often.",
        )  # fmt: skip


def spread(loops_ns: Sequence[int]) -> float:
    """The 99th percentile of loop times over their median; 1 is a host without noise."""
    ordered = sorted(loops_ns)
    middle = ordered[len(ordered) // 2]
    return ordered[math.ceil(0.99 * len(ordered)) - 1] / middle


def _jitter(view: View) -> Iterator[Guard]:
    if view.loops_ns:
        ratio = spread(view.loops_ns)
        yield Guard(
            name="jitter", value=f"99th percentile {ratio:.2f} × the median",
            severity=WARN if ratio > _JITTER_WARN else INFO,
            text="The spread of a fixed piece of work on this host: differences between boxes "
            "that are smaller than it need many repetitions to be seen.",
        )  # fmt: skip


def _power(view: View) -> Iterator[Guard]:
    states = view.texts("sys/class/power_supply/*/status").values()
    if "Discharging" in states:
        yield Guard(
            name="battery", value="discharging", severity=WARN,
            text="On battery the firmware holds the processor back, and every time is longer.",
        )  # fmt: skip
    heats = [
        int(text)
        for text in view.texts("sys/class/thermal/thermal_zone*/temp").values()
        if text.lstrip("-").isdigit()
    ]
    if heats:
        yield Guard(
            name="temperature", value=f"{max(heats) / 1000:.0f} °C",
            severity=WARN if max(heats) >= _HOT_MILLIDEGREES else INFO,
            text="A hot processor lowers its frequency, so later trials are slower than earlier.",
        )  # fmt: skip


def _throttling(view: View) -> Iterator[Guard]:
    counts = view.texts(f"{_CPU}/cpu[0-9]*/thermal_throttle/*_throttle_count")
    if counts:
        most = max(int(text) for text in counts.values() if text.isdigit())
        yield Guard(
            name="throttling", value=f"{most} times since boot", severity=WARN if most else INFO,
            text="A processor that was too hot has slowed itself down; each trial records whether "
            "it happened meanwhile.",
        )  # fmt: skip


_RULES: tuple[Callable[[View], Iterator[Guard]], ...] = (
    _nesting, _placement, _jitter, _load, _pressures, _steal, _governor, _turbo, _smt, _power,
    _throttling, _clock, _mitigations, _nx_huge_pages, _cgroups, _favordynmods, _ksm, _thp, _damon,
    _swap,
)  # fmt: skip


def measure_loops(seconds: float) -> Sequence[int]:
    """Nanoseconds of each of many equal pieces of arithmetic, done for so long."""
    found: list[int] = []
    end_ns = time.monotonic_ns() + int(seconds * 1e9)
    before = time.monotonic_ns()
    while before < end_ns:
        value = 1
        for _ in range(_LOOP_STEPS):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        after = time.monotonic_ns()
        found.append(after - before)
        before = after
    return found
