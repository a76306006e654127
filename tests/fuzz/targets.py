"""The readers of everything that somebody else may have written, each with inputs to begin with.

What a box says is somebody else's too: its agent's frames, the output of the tools in it.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import msgspec

from harness import inventory, journal, paths, plan, registry, runs, scenario
from harness.analysis import expression
from harness.analysis.compare import Beside, compare
from harness.analysis.embedded import data_address
from harness.analysis.export import samples_parquet
from harness.analysis.frames import RunData, load_run
from harness.analysis.gates import evaluate
from harness.analysis.summary import summarise
from harness.channel import READY_BYTES, Agent, Listener
from harness.errors import HarnessError, UsageError
from harness.exchange.export import FORMATS
from harness.exchange.importing import import_file
from harness.model import Context, Job, Sample
from harness.parsers import fio, json_document, lines, sevenzip, stress_ng, sysbench
from harness.parsers.json_document import JsonValue
from harness.parsers.lines import LinesValue
from harness.probes import isolation
from harness.serving import Service
from harness.stopping import parse_duration, parse_percent
from tests.fuzz.promises import Broken, Target
from tests.synthetic import Plan, make_run

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
PLAN = Plan(runtimes=("bare", "crun"), blocks=6)


@dataclass(frozen=True)
class Stored:
    """The files of one sound run."""

    journal: bytes
    manifest: bytes
    parquet: bytes

    @property
    def page(self) -> bytes:
        """A report that carries them."""
        return page(("manifest", self.manifest), ("samples", self.parquet))


@cache
def sound() -> Stored:
    """A small run, made once."""
    with tempfile.TemporaryDirectory() as place:
        folder = make_run(Path(place) / "run", PLAN)
        return Stored(
            (folder / paths.JOURNAL).read_bytes(), (folder / paths.MANIFEST).read_bytes(),
            samples_parquet(load_run(folder)),
        )  # fmt: skip


def page(*links: tuple[str, bytes]) -> bytes:
    """A page with these links, as a report has them."""
    made = [
        f'<li><a data-tarebench="{kind}" download="x" href="'
        f'{data_address("application/x", content)}">x</a></li>'
        for kind, content in links
    ]
    return f"<html>{''.join(made)}</html>".encode()


def look_at(run: RunData) -> None:
    """Everything that a reader asks of a run."""
    assert len(run.trials) == run.tally["count"].sum()
    assert {"metric", "value"} <= set(run.samples.columns)
    for series in run.series():
        run.values(series.metric, series.runtime, **series.dimensions)
    run.last_conditions("startup", "crun")
    run.stored()
    summarise(run)


# ---------------------------------------------------------------- stored runs


def _run(folder: Path, **files: bytes) -> Path:
    """A run folder whose files have these contents (`_` for the point), else a sound run's."""
    made = make_run(folder / "results" / "runs" / "run", PLAN)
    for name, content in files.items():
        (made / name.replace("_", ".")).write_bytes(content)
    return made


def _journal(data: bytes, folder: Path) -> None:
    run = load_run(_run(folder, journal_jsonl=data))
    assert len(run.trials) >= len(json.loads(sound().manifest)["plan"])
    look_at(run)
    for encode in FORMATS.values():
        encode(run)


def _resumed(data: bytes, folder: Path) -> None:
    """What `resume` reads: the finished trials of the run."""
    made = _run(folder, journal_jsonl=data)
    with journal.Journal(made):
        pass
    journal.records(made)


def _manifest(data: bytes, folder: Path) -> None:
    look_at(load_run(_run(folder, manifest_json=data)))


def _listed(data: bytes, folder: Path) -> None:
    """What `list runs`, `latest` and `resume` read of manifests; one bad one costs no other."""
    made = _run(folder, manifest_json=data)
    make_run(made.with_name("sound"), PLAN)
    with patch.object(paths, "results", lambda: made.parent):
        listed = runs.known_runs()
    if made.with_name("sound") not in [run.folder for run in listed]:
        raise Broken("a bad manifest hides a sound run")
    with suppress(HarnessError):  # of another image, at the least
        runs.request_to_resume(made)
    load_run(made)


def _parquet(data: bytes, folder: Path) -> None:
    made = _run(folder, samples_parquet=data)
    assert len(load_run(made).trials) > 0  # the journal is the truth
    (made / paths.JOURNAL).unlink()
    look_at(load_run(made))


def _page(data: bytes, folder: Path) -> None:
    path = folder / "report.html"
    path.write_bytes(data)
    look_at(load_run(path))


def _inventory(data: bytes, folder: Path) -> None:
    path = folder / "run.jsonl"
    path.write_bytes(data)
    assert all(isinstance(entry.name, str) for entry in inventory.read(path))


_INVENTORY = b"".join(
    json.dumps({"op": op, "kind": kind, "name": name, "details": details}).encode() + b"\n"
    for op, kind, name, details in (
        ("make", "directory", "/run/tarebench/0a1b2c3d", {}),
        ("make", "cgroup", "tarebench.0a1b2c3d", {}),
        ("make", "setting", "/sys/kernel/mm/ksm/run", {"value": "0"}),
        ("make", "container", "tb-0-0a1b2c3d", {"runtime": "runc", "pid": "4711"}),
        ("gone", "container", "tb-0-0a1b2c3d", {}),
    )
)


# ---------------------------------------------------------------- what a user writes


def _scenario(data: bytes, folder: Path) -> None:
    path = folder / "mine.toml"
    path.write_bytes(data)
    resolved = scenario.load(str(path))
    offers = dict.fromkeys(resolved.runtimes, tuple(resolved.experiments.chosen()))
    few = [*resolved.runtimes[:3]]
    plan.make_plan(_shortened(resolved), {name: offers[name] for name in few}, seed=1)
    job = resolved.workload.job("/scratch")
    if any("\0" in word for word in job.argv):
        raise Broken("a NUL byte in a job's words")


def _shortened(resolved: scenario.Scenario) -> scenario.Scenario:
    return msgspec.structs.replace(resolved, blocks=min(resolved.blocks, 3))


def _settings(data: bytes, folder: Path) -> None:
    del folder
    scenario.load("quick", settings=data.decode(errors="replace").splitlines()[:5])


class _NothingIsMade:
    """A ledger for what must make nothing: an adapter that is only created."""

    def will_make(self, kind: str, name: str, **details: str) -> None:
        raise Broken(f"{kind} {name} would be made by looking")

    def removed(self, kind: str, name: str) -> None:
        raise Broken(f"{kind} {name} would be removed by looking")


def _runtimes(data: bytes, folder: Path) -> None:
    text = data.decode(errors="replace")
    context = Context("run", folder / "cache", folder / "state", "tarebench.x", _NothingIsMade())
    for name in registry.expand([text])[:20]:
        if registry.canonical(name) != name:
            raise Broken(f"{name!r} has another canonical form")
        registry.create(name, context)
    registry.named([text])


def _fail_if(data: bytes, folder: Path) -> None:
    del folder
    evaluate([expression.parse(data.decode(errors="replace"))], _compared())


@cache
def _compared() -> tuple[Beside, ...]:
    with tempfile.TemporaryDirectory() as place:
        base, new = (load_run(make_run(Path(place) / name, PLAN)) for name in ("base", "new"))
        return tuple(compare(base, [new]))


def _options(data: bytes, folder: Path) -> None:
    """The small languages of the command line."""
    del folder
    text = data.decode(errors="replace")
    for read in (parse_percent, parse_duration, scenario.find, runs.find_run):
        with suppress(UsageError):
            read(text)
    scenario.checked_packages([text])


# ---------------------------------------------------------------- other tools


def _imported(data: bytes, folder: Path) -> None:
    path = folder / "given.json"
    path.write_bytes(data)
    made, _ = import_file(path, folder / "runs")
    if made.parent != folder / "runs":
        raise Broken(f"imported to {made}")
    run = load_run(made)
    look_at(run)
    for encode in FORMATS.values():
        encode(run)


def _parser(parse: Callable[[bytes], Sequence[Sample]]) -> Callable[[bytes, Path], None]:
    def feed(data: bytes, folder: Path) -> None:
        del folder
        for sample in parse(data):
            if not sample.value < float("inf"):
                raise Broken(f"{sample.metric} is {sample.value}")

    return feed


def _isolation(data: bytes, folder: Path) -> None:
    del folder
    seen, known = isolation.read(data), isolation.host()
    for view in isolation.VIEWS:
        isolation.facts(seen, known, view)


_JSON = {"rate": JsonValue(path="results.0.rate", unit="1/s", better="higher")}
_LINES = {"time": LinesValue(column=2, unit="s", better="lower", statistic="sum")}


# ---------------------------------------------------------------- what a box says


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame of the agent's."""
    return struct.pack("<4sI", kind, len(payload)) + payload


HELLO = frame(b"HELO", b"pid=1\ninit_ns=12345")
DONE = frame(b"DONE", b"status=0\nsignal=0\ntimed_out=0\ncpu_ns=1000\nduration_ns=2000")
ASKED: Mapping[str, tuple[bytes, Callable[[Agent], object]]] = {
    "run": (
        frame(b"STRT") + frame(b"OUT1", b"hello\n") + frame(b"OPEN", b"/usr/bin/x") + DONE,
        lambda agent: agent.run(Job(["/bin/true"], timeout_s=1.0)).stdout.read(),
    ),
    "serve": (
        frame(b"STRT") + frame(b"SRVD", b"tries=3\npoll_ns=200000"),
        lambda agent: agent.serve(Service(Job(["/x"], timeout_s=1.0), "/", "s", "q", "a")),
    ),
    "ping": (frame(b"PONG", struct.pack("<qq", 1, 2)), lambda agent: agent.round_trip_ns()),
    "facts": (
        frame(b"FACT", b"cpus=2") + frame(b"FACT", b"kernel=Linux 6 x") + frame(b"FEND"),
        lambda agent: agent.facts(),
    ),
    "hash": (
        frame(b"HASH", b"/x\t" + b"0a" * 32) + frame(b"HEND"),
        lambda agent: agent.hash_files(["/x"]),
    ),
    "touch": (frame(b"HELD", b"held=4096"), lambda agent: agent.touch(4096, 1)),
    "manifest": (
        frame(b"MANI", b"/x\t100644\t0:0\t1\t-\n") + frame(b"MEND"),
        lambda agent: agent.derive_manifest("/", []),
    ),
    "init": (b"", lambda agent: agent.init_ns()),
}  # fmt: skip
"""What the agent is asked, and a good answer after HELLO."""


def _said(data: bytes, folder: Path) -> None:
    """A box that says READY and then this, whatever it is asked."""
    refused: list[HarnessError] = []
    for number, (_, ask) in enumerate(ASKED.values()):
        with _box(folder / str(number), READY_BYTES + data) as listener:
            listener.wait_ready(10.0)
            try:
                ask(Agent(listener, shares_clock=True, timeout_s=10.0))
            except HarnessError as error:
                refused.append(error)
    if len(refused) == len(ASKED):
        raise refused[0]


def _first_words(data: bytes, folder: Path) -> None:
    with _box(folder / "s", data) as listener:
        listener.wait_ready(10.0)


@contextmanager
def _box(path: Path, says: bytes) -> Iterator[Listener]:
    """A listener to which a box has said this, and hung up."""
    with Listener(path) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as box:
        box.connect(os.fspath(path))
        with suppress(BrokenPipeError, ConnectionResetError):
            box.sendall(says)
            box.shutdown(socket.SHUT_WR)
        yield listener


# ---------------------------------------------------------------- all of them


def _golden(*names: str) -> tuple[bytes, ...]:
    return tuple((GOLDEN / name).read_bytes() for name in names)


def _scenarios() -> tuple[bytes, ...]:
    return tuple(
        path.read_bytes()
        for name, path in scenario.available().items()
        if name in ("quick", "io", "density", "ladder")
    )


def _probe_output() -> bytes:
    return (
        b"kernel.boot=1\nkernel.release=6.1\nns.net=net:[1]\nuid=0\ncap.effective=3f\n"
        b"mount=1 2 8:1 / / rw - ext4 /dev/vda rw\ncall=1 0\n"
        b"interface=eth0\n!lsm=none\ncomplete=1\n"
    )


HYPERFINE = json.dumps({
    "results": [
        {"command": "x", "times": [0.01, 0.02], "exit_codes": [0, 1], "parameters": {"a": "b"}}
    ]
}).encode()  # fmt: skip
PYTEST_BENCHMARK = json.dumps({
    "machine_info": {"machine": "x86_64", "cpu": {"count": 8}}, "version": "5.1.0",
    "benchmarks": [{"name": "t", "fullname": "t.py::t", "stats": {"data": [0.1, 0.2]}}],
    "datetime": "2026-05-06T07:08:09+02:00",
}).encode()  # fmt: skip


@cache
def targets() -> Mapping[str, Target]:
    """Every target by name."""
    run = sound()
    _compared()  # made now, because a reader that is fed may write nowhere else
    found = (
        Target("scenario", _scenarios(), _scenario, few=12),
        Target("settings", (b'blocks=3\nlimits.memory="64 MiB"', b'workload.argv=["/x"]'),
               _settings),
        Target("runtimes", (b"docker,network=none", b"class:vm", b"kvm,machine=*,storage=raw",
                            b"oci,path=/usr/bin/crun,label=x", b"spawn,ns=pid+net"), _runtimes,
               few=12),
        Target("options", (b"5%", b"2h", b"quick", b"./x.toml", b"zstd"), _options),
        Target("fail-if", (b"startup.ready[crun] > +10%", b"startup.ready > 5%",
                           b'io.latency[docker,network=none]{depth=16,rung="a, b"} < -5 %'),
               _fail_if),
        Target("journal", (run.journal,), _journal, few=4),
        Target("resume", (run.journal,), _resumed, few=20),
        Target("manifest", (run.manifest,), _manifest, few=12),
        Target("list", (run.manifest,), _listed, few=12),
        Target("parquet", (run.parquet,), _parquet, few=12),
        Target("page", (run.page,), _page, few=20),
        Target("inventory", (_INVENTORY,), _inventory),
        Target("import", (HYPERFINE, PYTEST_BENCHMARK), _imported, few=20),
        Target("fio", _golden("fio-randread.json", "fio-fsync.json"), _parser(fio.samples)),
        Target("sysbench", _golden("sysbench-cpu.txt", "sysbench-memory.txt"),
               _parser(sysbench.samples)),
        Target("stress-ng", _golden("stress-ng.txt"), _parser(stress_ng.samples)),
        Target("7zip", _golden("7zip.txt"), _parser(sevenzip.samples)),
        Target("json", (b'{"results": [{"rate": 1.5}]}',),
               _parser(lambda data: json_document.samples(data, _JSON))),
        Target("lines", (b"a 1.5\nb 2\n",), _parser(lambda data: lines.samples(data, _LINES))),
        Target("isolation", (_probe_output(),), _isolation),
        Target("agent-says", tuple(HELLO + said for said, _ in ASKED.values()), _said),
        Target("first-words", (READY_BYTES,), _first_words),
    )  # fmt: skip
    return {target.name: target for target in found}
