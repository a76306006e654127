"""The isolation matrix without a box: what the probe's lines mean, and the table made of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.analysis import isolation as matrix
from harness.analysis.frames import load_run
from harness.analysis.summary import summarise
from harness.experiments.isolation import _key, _sample
from harness.isolation_table import isolation_table
from harness.metrics import METRICS
from harness.model import Outcome, TrialRecord
from harness.parsers import OutputUnreadable
from harness.probes import isolation
from harness.probes.isolation import Fact, Host
from harness.report.matrix import SHADES, shade
from harness.report.sections.isolation import make
from harness.report.sheet import Layout
from harness.report.style import NARROW, WIDE, settings
from tests.synthetic import Plan, make_run

BOOT = "9cb99f7e-9ac1-4042-b284-060a7d4da1a2"
HOST = Host(
    kernel={"boot": BOOT, "release": "6.1.0", "build": "#1 SMP"},
    namespaces={name: f"{name}:[1]" for name in isolation.NAMESPACES},
    filesystems=frozenset({("8:1", "ext4"), ("0:5", "devtmpfs"), ("0:40", "overlay")}),
    calls={0: "read", 250: "keyctl", 165: "mount"},
)
SHARED = f"""\
uid=0
kernel.release=6.1.0
kernel.build=#1 SMP
kernel.boot={BOOT}
ns.cgroup=cgroup:[1]
ns.ipc=ipc:[1]
ns.mnt=mnt:[2]
ns.net=net:[1]
ns.pid=pid:[2]
!ns.time=ENOENT
ns.user=user:[1]
ns.uts=uts:[1]
caps.effective=00000000a80425fb
caps.bounding=000001ffffffffff
seccomp=2
no_new_privs=0
uid_map=         0          0 4294967295
!lsm=/proc/self/attr/current: EINVAL
processes=4
processes.bait=0
device=rw c 1:3 /dev/null
device=rw b 8:0 /dev/sda
device=r- c 4:1 /dev/tty1
device=-- c 10:1 /dev/psaux
device=rw c 136:0 /dev/pts/0
devices=listed
mount=0:40 overlay /
mount=8:1 ext4 /etc/hosts
mount=0:99 proc /proc
mounts=listed
keys=seen
interface=lo
interface=veth12ab
interfaces=listed
loopback=reached
module=EPERM
clock=EINVAL
log=done
disk=mknod EPERM
calls.answered=0 1 2
calls.refused=250 999
calls.missing=165
calls.ended=
complete=1
"""


def facts(output: str, view: str = "root") -> dict[str, Fact]:
    found = isolation.facts(isolation.read(output.encode()), HOST, view)
    return {_key(fact).removeprefix("isolation."): fact for fact in found}


def test_a_box_on_the_hosts_kernel() -> None:
    found = facts(SHARED)
    values = {name: fact.value for name, fact in found.items()}
    assert values["kernel"] == 0
    assert {n for n in isolation.NAMESPACES if values[f"namespace.{n}"] == 1} == {"mnt", "pid"}
    assert found["namespace.time"] == Fact("namespace", None, "ENOENT", (("namespace", "time"),))
    assert (values["root"], values["seccomp"], values["no_new_privs"], values["lsm"]) == (
        1,
        1,
        0,
        0,
    )
    assert values["capabilities.effective.root"] == 14
    assert values["capabilities.bounding.root"] == 41
    assert found["capabilities.effective.root"].words.startswith("chown, dac_override, fowner")
    assert (values["devices.root"], found["devices.root"].words) == (2, "sda, tty*")
    assert (values["mounts"], found["mounts"].words) == (1, "ext4 /etc/hosts")
    assert (values["interfaces"], found["interfaces"].words) == (2, "lo, veth*")
    assert values["processes.root"] == 0
    allowed = {name: values[f"{name}.root"] for name in
               ("keys", "loopback", "log", "disk", "module", "clock")}  # fmt: skip
    assert allowed == {"keys": 1, "loopback": 1, "log": 1, "disk": 0, "module": 0, "clock": 1}
    assert values["calls.root"] == 3
    assert found["calls.root"].words == "refused: keyctl, #999; missing: mount"


def test_nothing_done_to_its_own_kernel_counts_as_done_to_the_hosts() -> None:
    guest = SHARED.replace(BOOT, "another").replace("module=EPERM", "module=ENOEXEC")
    found = {name: fact.value for name, fact in facts(guest.replace("bait=0", "bait=1")).items()}
    assert found["kernel"] == 1
    assert all(found[f"namespace.{name}"] == 1 for name in isolation.NAMESPACES)
    nothing = ("root", "mounts", "interfaces", "processes.root", "devices.root", "keys.root",
               "log.root", "disk.root", "module.root", "clock.root")  # fmt: skip
    assert [found[name] for name in nothing] == [0] * len(nothing)
    assert found["loopback.root"] == 1, "the host was reached, by whatever way"


def test_a_kernel_that_hides_its_boot_is_told_by_its_make() -> None:
    hidden = SHARED.replace(f"kernel.boot={BOOT}", "!kernel.boot=ENOENT")
    assert facts(hidden)["kernel"].value == 0
    assert facts(hidden.replace("6.1.0", "4.4.0"))["kernel"].value == 1


def test_a_file_mounted_over_the_boots_number_does_not_make_a_kernel() -> None:
    over = "mount=0:50 tmpfs /proc/sys/kernel/random/boot_id\nmounts=listed"
    covered = SHARED.replace(BOOT, "made-up").replace("mounts=listed", over)
    assert facts(covered)["kernel"].value == 0


def test_what_could_not_be_observed_has_no_value_and_a_reason() -> None:
    left_out = ("caps", "mount", "calls")
    told = [line for line in SHARED.splitlines() if not line.startswith(left_out)]
    told += ["!mounts=/proc/self/mountinfo: ENOENT", "!caps.effective=gone"]
    blind = "\n".join([*told, "!calls.answered=fork: EAGAIN"])
    found = facts(blind)
    for name, why in (("mounts", "/proc/self/mountinfo: ENOENT"), ("calls.root", "fork: EAGAIN"),
                      ("capabilities.effective.root", "gone")):  # fmt: skip
        assert (found[name].value, found[name].words) == (None, why)


@pytest.mark.parametrize(
    "output",
    [
        "uid=0\n", "", SHARED.replace("complete=1", "garbage"),
        *(f"{line}\n{SHARED}" for line in (
            "mount=1ne", "device=rw c 8:1", "uid_map=0 many", "seccomp=", "processes=٣",
            "caps.effective=7g", "calls.refused=1 x", "no_new_privs=" + "9" * 5000,
        )),
    ],
)  # fmt: skip
def test_a_probe_that_was_cut_off_or_garbled_is_refused(output: str) -> None:
    with pytest.raises(OutputUnreadable):
        isolation.read(output.encode())


def test_only_the_secret_is_a_proof_of_escape() -> None:
    judged = isolation.judged
    assert judged({"before": "ENOENT", "step": "all", "after": "s3"}, "s3").value == 1
    found = judged({"before": "ENOENT", "step": "all", "after": "other"}, "s3")
    assert (found.value, found.words) == (0, "all: other")
    assert judged({"before": "ENOENT", "step": "chroot", "after": "EPERM"}, "s3").value == 0
    assert judged({"before": "s3", "step": "all", "after": "s3"}, "s3").value is None


def test_limits_come_from_the_groups_that_are_not_the_harnesss() -> None:
    mine = "4:memory:/\n3:cpuset:/\n1:cpu,cpuacct:/\n0::/\n"
    box = "4:memory:/tb-0a1b2c3d/tb-7\n3:cpuset:/\n1:cpu,cpuacct:/tb-0a1b2c3d/tb-7\n0::/\n"
    assert isolation.of_host(box, mine) == (1.0, "cpu+memory /tb-…/tb-…")
    assert isolation.of_host(mine, mine) == (0.0, "")


def record(runtime: str, kind: str, facts: dict[str, Fact], number: int) -> TrialRecord:
    told = [fact for fact in facts.values() if fact.value is not None]
    return TrialRecord(
        trial=f"{number:05d}", experiment="isolation", runtime=runtime, runtime_class=kind,
        accel="none", block=0, position=number, warmup=False, outcome=Outcome.OK, reason="",
        started_utc="2026-01-01T00:00:00Z", wall_s=1.0, samples=[_sample(fact) for fact in told],
        conditions={_key(fact): fact.words for fact in facts.values() if fact.words},
    )  # fmt: skip


def records(many: int = 1) -> list[TrialRecord]:
    """A container, a machine, and bare metal that sees the bait; `many` times the container."""
    bare = {**facts(SHARED.replace("bait=0", "bait=1")), **facts(SHARED, "user")}
    bare["escape"] = Fact("escape", None, isolation.NO_BOX)
    box = {**facts(SHARED), **facts(SHARED, "user"), "escape": Fact("escape", 0.0, "open: ENOENT")}
    guest = {**facts(SHARED.replace(BOOT, "x")), "escape": Fact("escape", 0.0, "open: ENOENT")}
    boxes = [("qemu", "emulated machine", guest), ("bare", "bare metal", bare)]
    boxes += [(f"docker,label=n{n}", "container", box) for n in range(many)]
    return [record(name, kind, own, n) for n, (name, kind, own) in enumerate(boxes)]


def test_every_fact_is_a_declared_metric_of_unit_1() -> None:
    for each in records():
        assert {METRICS[sample.metric].unit for sample in each.samples} == {"1"}


def test_boxes_are_grouped_by_class_and_each_row_has_an_answer_a_box() -> None:
    found = matrix.of_records(records())
    assert [box.runtime for box in found] == ["bare", "docker,label=n0", "qemu"]
    answers = {row.key: [cell.text for cell in cells] for row, cells in matrix.matrix(found)}
    assert answers["kernel"] == ["the host’s", "the host’s", "its own: 6.1.0"]
    assert answers["namespace"][1:] == ["mnt, pid", "all, with its kernel"]
    assert answers["escape"][0] == "not known: there is no box to leave"
    assert answers["disk.root"] == ["no (mknod EPERM)"] * 3
    assert answers["clock.root"] == ["yes", "yes", "its own only"]
    assert answers["escape"][1:] == ["no (open: ENOENT)"] * 2
    assert answers["processes.root"] == ["4", "0", "0"]


def test_the_terminal_shows_twenty_boxes_in_eighty_columns() -> None:
    from rich.console import Console

    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(isolation_table(records(20)))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "docker,label=n19" in capture.get()
    assert "its own: 6.1.0" in capture.get()


def test_the_report_has_the_matrix_with_twenty_boxes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=1))
    stored = records(20)
    (folder / "journal.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in stored))
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    manifest["plan"] = [
        {"trial": r.trial, "experiment": "isolation", "runtime": r.runtime, "block": 0,
         "position": r.position, "warmup": False} for r in stored
    ]  # fmt: skip
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    run = load_run(folder)
    section = make(run, summarise(run))
    assert section is not None
    table, chart = section.exhibits[0].table, section.exhibits[0].chart
    assert table is not None
    assert chart is not None
    assert len(table.headings) == 23
    assert all(len(row) == 23 for row in table.rows)
    assert dict(zip(table.headings, table.rows[1], strict=True))["qemu (emulated)"] == (
        "its own: 6.1.0"
    )
    meanings = section.exhibits[1].table
    assert meanings is not None
    assert len(meanings.rows) == len(table.rows) - 1, "a sentence explains each row"
    assert section.answers[0].headline == "A kernel of its own has: qemu."
    for layout in (WIDE, NARROW, Layout("tiny", 3.0, 0.5, narrow=True)):
        with settings():
            chart.draw(layout).canvas.draw()  # type: ignore[attr-defined]


def test_only_nothing_and_everything_have_the_first_and_the_last_shade() -> None:
    last = len(SHADES) - 1
    assert [shade(share) for share in (0.0, 0.001, 0.999, 1.0)] == [0, 1, last - 1, last]
