"""What `list runtimes` and the doctor print: by class, ready or not and why, in 80 columns."""

from __future__ import annotations

import pytest

from harness.doctor import Diagnosis, RuntimeState
from harness.host_text import diagnosis_text, offered, runtimes_text
from harness.rights import Right

WIDTH = 80


def state(name: str, kind: str, **more: str) -> RuntimeState:
    return RuntimeState(
        name=name, kind=kind, status=more.get("status", "ready"), reason=more.get("reason", ""),
        remedy=more.get("remedy", ""),
        parameters={"network": {"choices": ["bridge", "none", "host"], "default": "bridge"}},
        versions={name: "1.0", "containerd": "1.6.20~ds1", "runc": "1.1.5+ds1", "init": "0.19"},
    )  # fmt: skip


def listed() -> str:
    names = [f"runtime-{number}" for number in range(20)]
    states = [
        *(state(name, "container") for name in names),
        state("kvm", "virtual machine", status="unprobed", reason="unprobed: only a boot tells"),
        state("podman", "container", status="unavailable", reason="podman is not there " * 8,
              remedy="apt-get install podman"),
        state("broken", "unknown", status="unavailable", reason="its adapter cannot be loaded"),
        state("bare", "bare metal"),
    ]  # fmt: skip
    return runtimes_text(states, WIDTH, offered)


def test_classes_follow_each_other_with_the_word_that_chooses_them() -> None:
    lines = listed().splitlines()
    assert lines[0] == "Runtimes: 21 ready, 2 unavailable, 1 unprobed"
    headings = [line for line in lines[1:] if line and not line.startswith(" ")]
    assert headings == [
        "Bare metal  class:bare", "Container  class:container", "Virtual machine  class:vm",
        "Unknown",
    ]  # fmt: skip


def test_reason_comes_first_and_the_remedy_stands_below_it() -> None:
    lines = listed().splitlines()
    at = next(number for number, line in enumerate(lines) if "✗ podman" in line)
    assert "podman is not there" in lines[at]
    remedy = next(line for line in lines[at:] if "→" in line)
    assert remedy.strip() == "→ apt-get install podman"
    assert "? kvm" in listed()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_lines_fit(width: int) -> None:
    text = runtimes_text([state("libvirt-lxc", "container")], width, offered)
    assert max(map(len, text.splitlines())) <= width


def test_runtime_with_nothing_to_say_keeps_its_line() -> None:
    bare = RuntimeState("mine", "jail", "ready", "", "", {})
    assert runtimes_text([bare], WIDTH, offered).splitlines()[-1] == "  ✓ mine  ready"


def rights_of(states: list[RuntimeState], rights: list[Right]) -> str:
    """The doctor's section on what takes root."""
    found = Diagnosis({}, states, rights, [], [], {}, {}, {"path": "/cache", "bytes": 0})
    _, _, rest = diagnosis_text(found, WIDTH).partition("\nRights: ")
    return rest.partition("\n\n")[0]


def test_what_takes_root_is_named_with_what_to_do() -> None:
    refused = [
        RuntimeState(name, "jail", "unavailable", "why", remedy, {}, needs_root=True)
        for name, remedy in (("chroot", "use sudo"), ("docker", "start it"), ("runc", "use sudo"))
    ]
    absent = RuntimeState("xen", "virtual machine", "unavailable", "no Xen", "boot it", {})
    lacking = Right("the page cache", False, "Cold starts.", "use sudo, on a host that lets you")
    text = rights_of([*refused, absent], [lacking, Right("processes", True, "Sizes.", "never")])
    assert text.splitlines()[1:] == [
        "  ✗ runtimes: chroot, docker, runc", "      → use sudo", "      → start it",
        "  ✗ the page cache: Cold starts.", "      → use sudo, on a host that lets you",
        "  ✓ processes: Sizes.",
    ]  # fmt: skip


def test_whoever_lacks_nothing_is_told_no_remedy() -> None:
    text = rights_of([RuntimeState("chroot", "jail", "ready", "", "", {})], [])
    assert "✗" not in text
    assert "→" not in text
