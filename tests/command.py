"""The real command as a child process, in a place of its own, and what it has left behind."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.analysis.export import to_csv
from harness.analysis.frames import load_run
from harness.inventory import dead_inventories, left_over
from harness.probes.cgroups import Layout
from harness.report import build

PROGRAM = str(Path(sys.executable).with_name("tarebench"))
TIME_LIMIT_S = 240.0


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def folder(self) -> Path:
        """The run folder: standard output's only line."""
        (line,) = self.out.splitlines()
        return Path(line)


@dataclass
class Place:
    """A working folder and an inventory of our own, so that no other run is in the way.

    Its runs draw no report, which takes longer than many of them, unless `drawn`.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    time_limit_s: float = TIME_LIMIT_S
    drawn: bool = False

    def __post_init__(self) -> None:
        self.env = {
            **os.environ, "TAREBENCH_STATE": str(self.folder / "state"), "COLUMNS": "100",
            **self.env,
        }  # fmt: skip

    def tarebench(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, umask: int = -1
    ) -> Said:
        """Run the command to its end; with a umask of -1 under ours."""
        done = subprocess.run(
            self._argv(arguments), cwd=self.folder, env={**self.env, **(env or {})},
            capture_output=True, text=True, timeout=self.time_limit_s, check=False,
            stdin=subprocess.DEVNULL, umask=umask,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def _argv(self, arguments: Sequence[str | Path]) -> Sequence[str]:
        argv = [PROGRAM, *map(str, arguments)]
        runs = not self.drawn and {"run", "resume"}.intersection(argv[1:3])
        return [*argv, "--no-report"] if runs else argv

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; its standard error is read line by line."""
        with subprocess.Popen(
            self._argv(arguments), cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, bufsize=1,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def rows(self, run: Path) -> Sequence[Mapping[str, str]]:
        """The run's rows, as `export --to csv` writes them."""
        return list(csv.DictReader(io.StringIO(to_csv(load_run(run)).decode())))

    def told(self, run: Path) -> str:
        """The words and tables of the run's report, in Markdown: no chart is drawn for it."""
        out = self.folder / f"{run.name}.md"
        build([load_run(run)], out, format="md")
        return out.read_text()

    def to_clean(self) -> Sequence[str]:
        """What `tarebench clean --dry-run` would list, without another command."""
        with dead_inventories(self.folder / "state" / "inventory") as files:
            return [f"{entry.kind} {entry.name}" for file in files for entry in left_over(file)]

    def tokens(self) -> set[str]:
        """What names the things of the runs that are on our inventory."""
        lines = [
            json.loads(line)
            for path in (self.folder / "state" / "inventory").glob("*.jsonl")
            for line in path.read_text().splitlines()
        ]
        groups = {line["name"] for line in lines if line["kind"] == "cgroup"}
        return {name.removeprefix("tarebench.") for name in groups if "/" not in name}

    def left_behind(self, tokens: set[str]) -> Sequence[str]:
        """Processes, mounts, control groups and folders of our runs that are still there."""
        found = [f"process {pid}" for pid in self.processes(tokens)]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        for token in tokens:
            found += [f"mount {line}" for line in mounts if token in line]
            found += [str(p) for mount in Layout.detect().mounts for p in mount.glob(f"*{token}*")]
            places = ("/run/tarebench", "/var/cache/tarebench/scratch")
            found += [str(Path(p) / token) for p in places if (Path(p) / token).exists()]
        return found

    def processes(self, tokens: set[str]) -> Sequence[int]:
        """Living processes that were started below our runs, by environment or group."""
        mark = f"TAREBENCH_STATE={self.folder / 'state'}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                ours = mark in (path / "environ").read_bytes().split(b"\0")
                groups = (path / "cgroup").read_text()
                ended = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if not ended and (ours or any(token in groups for token in tokens)):
                found.append(int(path.name))
        return found

    def wait_until_gone(self, tokens: set[str]) -> None:
        """Wait for the processes that end by themselves when their harness is dead."""
        for pid in self.processes(tokens):
            try:
                file = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            assert select.select([file], [], [], 30.0)[0], f"process {pid} does not end"
            os.close(file)


def read_lines(process: subprocess.Popen[str], until: str = "", count: int = 0) -> list[str]:
    """Lines of standard error until one holds a text, or until there are so many."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if (until and until in line) or (count and len(lines) >= count):
            break
    return lines


def finish(process: subprocess.Popen[str], number: signal.Signals) -> Said:
    """Send a signal, if it still runs, and wait for the end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=TIME_LIMIT_S)
    return Said(process.returncode, out, err)
