"""What a box keeps apart, from what a probe saw inside of it and what the host is.

The agent prints plain observations (harness/image/isolation.c). Which of them say that the box
and the host are the same can be told from outside alone: a namespace is the box's own if its
number is not the host's, a device is the host's if the kernel is. So both are read here, and
become facts: a number, and the words that stand behind it. What could not be observed has no
number, and the reason as its words.

Where a box brings its own kernel, whatever it may do it does to that kernel. Such a fact counts
as *none of the host's*, and its words still say what was allowed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.parsers import unreadable

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
VIEWS: Mapping[str, int] = {"root": 0, "user": 65534}
"""Who looks: the box's root, and the user that jobs run as."""

CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
    "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
    "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
    "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
    "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
)  # fmt: skip
"""By their bits (linux/capability.h)."""

_HARMLESS = re.compile(r"1:[35789]|5:[012]|13[6-9]:\d+|14[0-3]:\d+")
"""null, zero, full, random, urandom; tty, console, ptmx; terminals (admin-guide/devices.txt)."""
_LAYERS = ("overlay", "fuse-overlayfs", "fuse.fuse-overlayfs")
"""A box's own writable layer: engines mount it where the host sees it too."""
_CALLS = re.compile(r"#define\s+__NR_(\w+)\s+(\d+)")
_CALL_HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")
_BOOT = "/proc/sys/kernel/random/boot_id"
_MOST_WORDS = 4000
_NUMBER, _MASK = r"[0-9]{1,20}", r"[0-9a-fA-F]{1,20}"
_NUMBERS = rf"(?:{_NUMBER}(?:\s+|$))*"
_FORMS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(form)
    for names, form in (
        (("no_new_privs", "seccomp", "processes"), _NUMBER),
        (("caps.effective", "caps.bounding"), _MASK),
        (("uid_map", "calls.answered", "calls.refused", "calls.missing", "calls.ended"), _NUMBERS),
        (("mount",), r"\S+ \S+ .+"),
        (("device",), r"\S+ \S+ \S+ .+"),
    )
    for name in names
}
"""Observations that are taken apart: what the agent writes (harness/image/isolation.c)."""

GRANTED = "granted: "
NO_ROOT = "nobody is root in this box"
NO_BOX = "there is no box to leave"
SEEN_ANYWAY = "the file outside could be read without an escape"
"""Why something is not known, as reports say it."""


@dataclass(frozen=True)
class Host:
    """The host as the harness sees it, to hold a box against."""

    kernel: Mapping[str, str]
    namespaces: Mapping[str, str]
    filesystems: frozenset[tuple[str, str]]
    calls: Mapping[int, str]


@dataclass(frozen=True)
class Seen:
    """What one run of the probe printed: single values, lists, and what it could not tell."""

    values: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Fact:
    """`name` is the metric's, without its prefix. Without a `value`, `words` say why."""

    name: str
    value: float | None
    words: str
    dimensions: tuple[tuple[str, str], ...] = ()


def host() -> Host:
    """The host now, its mounts included."""
    links = {name: Path(f"/proc/self/ns/{name}") for name in NAMESPACES}
    found = {name: str(link.readlink()) for name, link in links.items() if link.is_symlink()}
    mounts = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return Host(
        kernel={
            "boot": _line(_BOOT),
            "release": os.uname().release,
            "build": os.uname().version,
        },
        namespaces=found,
        filesystems=frozenset((words[2], words[words.index("-") + 1]) for words in mounts),
        calls=call_names(),
    )


def disk_to_try() -> str:
    """The number of a block device that this process may open for writing; empty without one.

    What even the harness may not, no box need be asked for. An unused loop device will do.
    """
    found = sorted(Path("/sys/class/block").glob("*"), key=lambda each: each.name.startswith("lo"))
    for device in found:
        with suppress(OSError):
            node = Path("/dev") / device.name
            os.close(os.open(node, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            return (device / "dev").read_text().strip()
    return ""


def call_names() -> Mapping[int, str]:
    """System calls by number, as the C library's headers know them; may be empty."""
    for path in map(Path, _CALL_HEADERS):
        if path.is_file():
            return {int(number): name for name, number in _CALLS.findall(path.read_text())}
    return {}


def read(output: bytes) -> Seen:
    """The probe's lines. Raises OutputUnreadable where it did not come to its end."""
    values: dict[str, str] = {}
    lists: dict[str, tuple[str, ...]] = {}
    absent: dict[str, str] = {}
    for line in output.decode(errors="replace").splitlines():
        name, equals, value = line.partition("=")
        if not equals:
            raise unreadable(f"{line!r} is no observation", output)
        if name in _FORMS and not _FORMS[name].fullmatch(value.strip()):
            raise unreadable(f"{line!r} does not have the form of its kind", output)
        if name.startswith("!"):
            absent[name[1:]] = value
        else:
            values[name] = value.strip()
            lists[name] = (*lists.get(name, ()), value.strip())
    if "complete" not in values:
        raise unreadable("the probe did not come to its end", output)
    return Seen(values, lists, absent)


def same_kernel(seen: Seen, known: Host) -> bool:
    """Whether the box runs on the host's kernel.

    The kernel's random number of this boot decides. A box that hides it, or that has a file of
    its own mounted over it (as LXC and nspawn do), is told by release and build, in which a
    kernel of another make differs.
    """
    boot = seen.values.get("kernel.boot")
    covered = any(line.endswith(f" {_BOOT}") for line in seen.lists.get("mount", ()))
    if boot and known.kernel["boot"] and not covered:
        return boot == known.kernel["boot"]
    return all(
        seen.values.get(f"kernel.{key}") == known.kernel[key] for key in ("release", "build")
    )


def facts(seen: Seen, known: Host, view: str) -> Sequence[Fact]:
    """All that one view tells; what is the same for every user only in that of root."""
    shared = same_kernel(seen, known)
    found = [*_rights(seen, known), *_views(seen, shared)]
    seen_by = [
        Fact(each.name, each.value, each.words, (*each.dimensions, ("view", view)))
        for each in found
    ]
    return [*(_box(seen, known, shared) if view == "root" else ()), *seen_by]


def box_facts(seen: Seen, known: Host) -> Sequence[Fact]:
    """What is the same for every user of a box, where nobody there is root."""
    return list(_box(seen, known, same_kernel(seen, known)))


def _box(seen: Seen, known: Host, shared: bool) -> Iterator[Fact]:
    """What the box is, whoever looks."""
    kernel = (seen.values.get(f"kernel.{key}", "") for key in ("release", "build"))
    yield Fact("kernel", float(not shared), " ".join(filter(None, kernel)))
    for name in NAMESPACES:
        key = f"ns.{name}"
        own = float(not shared or seen.values.get(key) != known.namespaces.get(name))
        told = key in seen.values or not shared
        yield Fact("namespace", own if told else None, "" if told else seen.absent.get(key, ""),
                   (("namespace", name),))  # fmt: skip
    yield _root(seen, shared)
    yield _number(seen, "no_new_privs", "no_new_privs")
    yield _number(seen, "seccomp", "seccomp")
    profile = seen.values.get("lsm", "")
    confined = profile not in ("", "unconfined", "kernel")
    yield Fact("lsm", float(confined), profile or f"none: {seen.absent.get('lsm', '')}")
    yield _mounts(seen, known, shared)
    names = _listed(
        re.sub(r"\d+$|(?<=^veth)\w+", "*", each) for each in seen.lists.get("interface", ())
    )
    network = shared and seen.values.get("ns.net") == known.namespaces.get("net")
    if "interfaces" in seen.absent:
        yield Fact("interfaces", None, seen.absent["interfaces"])
    else:
        count = len(seen.lists.get("interface", ()))
        yield Fact("interfaces", float(count if network else 0), names)


def _number(seen: Seen, key: str, name: str) -> Fact:
    if key not in seen.values:
        return Fact(name, None, seen.absent.get(key, ""))
    return Fact(name, float(int(seen.values[key]) > 0), seen.values[key])


def _root(seen: Seen, shared: bool) -> Fact:
    """Whether root inside is root outside, by the map of user numbers: inside, outside, many."""
    if "uid_map" not in seen.values:
        return Fact("root", None if shared else 0.0, seen.absent.get("uid_map", ""))
    numbers = [int(word) for word in seen.values["uid_map"].split()]
    maps = zip(numbers[::3], numbers[1::3], strict=False)
    outside = next((out for inside, out in maps if inside == 0), None)
    return Fact("root", float(shared and outside == 0), "" if outside is None else str(outside))


def _interfaces(seen: Seen, known: Host, shared: bool) -> Fact:
    """The host's, where its network namespace is the box's too; others come and go with boxes."""
    if "interfaces" in seen.absent:
        return Fact("interfaces", None, seen.absent["interfaces"])
    names = seen.lists.get("interface", ())
    here = shared and seen.values.get("ns.net") == known.namespaces.get("net")
    alike = (re.sub(r"^(veth|tb-|br-).*|\d+$", r"\1*", name) for name in names)
    return Fact("interfaces", float(len(names) if here else 0), _listed(alike))


def _mounts(seen: Seen, known: Host, shared: bool) -> Fact:
    """Filesystems of the host's own table that are mounted in the box, by their device number."""
    if "mounts" in seen.absent:
        return Fact("mounts", None, seen.absent["mounts"])
    found: dict[str, list[str]] = {}
    for line in seen.lists.get("mount", ()):
        device, kind, where = line.split(" ", 2)
        if shared and kind not in _LAYERS and (device, kind) in known.filesystems:
            found.setdefault(kind, []).append(where)
    words = (f"{kind} {', '.join(sorted(places))}" for kind, places in sorted(found.items()))
    return Fact("mounts", float(sum(map(len, found.values()))), _short("; ".join(words)))


def _rights(seen: Seen, known: Host) -> Iterator[Fact]:
    """Capabilities, and the system calls that answer."""
    for kind in ("effective", "bounding"):
        key = f"caps.{kind}"
        names = capabilities(seen.values.get(key, "0"))
        words = ", ".join(names) if key in seen.values else seen.absent.get(key, "")
        value = float(len(names)) if key in seen.values else None
        yield Fact("capabilities", value, words, (("set", kind),))
    if "calls.answered" not in seen.values:
        yield Fact("calls", None, seen.absent.get("calls.answered", ""))
        return
    told_by = []
    for kind in ("refused", "missing", "ended"):
        numbers = map(int, seen.values.get(f"calls.{kind}", "").split())
        names = [known.calls.get(number, f"#{number}") for number in numbers]
        told_by += [f"{kind}: {', '.join(names)}"] if names else []
    answered = len(seen.values["calls.answered"].split())
    yield Fact("calls", float(answered), _short("; ".join(told_by)))


def capabilities(mask: str) -> Sequence[str]:
    """The capabilities in a mask of hexadecimal digits; one that has no name yet is its bit."""
    bits = int(mask, 16)
    found = [bit for bit in range(bits.bit_length()) if bits >> bit & 1]
    return [CAPABILITIES[bit] if bit < len(CAPABILITIES) else f"#{bit}" for bit in found]


def _views(seen: Seen, shared: bool) -> Iterator[Fact]:
    """What is seen and may be done of the host's, by one user of the box."""
    if "processes" in seen.values:
        count = int(seen.values["processes"])
        met = shared and seen.values.get("processes.bait") == "1"
        yield Fact("processes", float(count if met else 0), str(count) if met else "")
    else:
        yield Fact("processes", None, seen.absent.get("processes", ""))
    yield _devices(seen, shared)
    yield _allowed("keys", seen, "keys", shared, ("seen",))
    yield _allowed("loopback", seen, "loopback", True, ("reached",))
    yield _allowed("log", seen, "log", shared, ("done",))
    yield _allowed("disk", seen, "disk", shared, ("opened",))
    yield _allowed("module", seen, "module", shared, ("ENOEXEC", "EINVAL", "EFAULT"))
    yield _allowed("clock", seen, "clock", shared, ("EINVAL",))


def _allowed(name: str, seen: Seen, key: str, shared: bool, good: Sequence[str]) -> Fact:
    """1 where the answer is one that only a caller with the right to it gets, of the host's
    kernel; the words say that it was granted, whichever kernel did."""
    if key not in seen.values:
        return Fact(name, None, seen.absent.get(key, ""))
    answer = seen.values[key]
    if answer in good:
        return Fact(name, float(shared), f"{GRANTED}{answer}")
    return Fact(name, 0.0, answer)


def _devices(seen: Seen, shared: bool) -> Fact:
    """Nodes in /dev that may be read or written, but for those that every box needs."""
    if "devices" in seen.absent:
        return Fact("devices", None, seen.absent["devices"])
    nodes = [line.split(" ", 3) for line in seen.lists.get("device", ())]
    paths = [
        path.removeprefix("/dev/")
        for may, _, number, path in nodes
        if may != "--" and not _HARMLESS.fullmatch(number)
    ]
    alike = _listed(re.sub(r"\d+", "*", each) for each in paths)
    return Fact("devices", float(len(paths) if shared else 0), alike)


def _listed(names: Iterator[str]) -> str:
    return _short(", ".join(sorted(set(names))))


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]} …"


def _line(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def judged(said: Mapping[str, str], secret: str) -> Fact:
    """What the attempt's words are worth: only the file's content is a proof."""
    if said.get("before") == secret:
        return Fact("escape", None, SEEN_ANYWAY)
    if said.get("after") == secret:
        return Fact("escape", 1.0, "a file outside was read")
    return Fact("escape", 0.0, f"{said.get('step', '?')}: {said.get('after', '?')}")


def of_host(text: str, mine: str) -> tuple[float, str]:
    """Whether a process is in control groups of its own, and in which: 1 or 0, and words.

    `text` is /proc/PID/cgroup of the box's process on the host, `mine` the harness's own. Only
    hierarchies that limit CPU, memory or processes are looked at. Parts of a path that are a
    run's alone are dots, so that two trials say the same.
    """
    own = {name: path for name, path in _groups(text).items() if _groups(mine).get(name) != path}
    names = {path: sorted(n for n, other in own.items() if other == path) for path in own.values()}
    words = (
        f"{'+'.join(some)} {re.sub(r'[0-9a-f]{6,}|(?<=-)[0-9]+', '…', path)}"
        for path, some in sorted(names.items())
    )
    return float(bool(own)), "; ".join(words)


def _groups(text: str) -> Mapping[str, str]:
    found = {}
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in ("cpu", "memory", "pids") or (number == "0" and not controllers):
                found[name or "cgroup2"] = path
    return found
