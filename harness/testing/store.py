"""The run folder of a session: what pytest-benchmark measured, as trials like any others.

One test on one runtime is one trial, and one value: the median of its rounds. Rounds are
iterations inside one trial (METHOD: unit of inference), so a session with one trial of each
test has no interval, and `--box-trials 10` gives it ten, in randomised blocks. The folder is
made before the first trial, and each trial is on the disk before the next test begins.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from harness import manifest
from harness.clock import now_ns
from harness.journal import Journal, create_folder, records, write_manifest
from harness.lineup import Lineup
from harness.model import Image, Metric, Outcome, Trial, TrialRecord
from harness.paths import MANIFEST
from harness.probes.guards import INFO, Guard
from harness.runner import Request
from harness.stopping import Stop, Tally, ended
from harness.testing.names import EXPERIMENT, Planned
from harness.verification import Verified


class Store:
    """Writes one run; `folder` is where. Raises HarnessError when it cannot."""

    def __init__(
        self,
        request: Request,
        image: Image,
        lineup: Lineup,
        planned: Sequence[Planned],
        guards: Sequence[Guard],
    ) -> None:
        self.folder = request.folder
        self._request = request
        self._begin_ns = now_ns()
        self._trials = _trials(
            [each for each in planned if each.measured and each.runtime in lineup.entrants]
        )
        self._dropped: set[Planned] = set()
        self._stack = ExitStack()
        create_folder(request.folder)
        self._journal = self._stack.enter_context(Journal(request.folder))
        if request.rule.blocks == 1:
            guards = [*guards, _in_order()]
        trials = list(self._trials.values())
        document = manifest.begin(request, request.folder.name, image, lineup, trials, guards)
        self._document: Mapping[str, Any] = {
            **document,
            "metrics": msgspec.to_builtins({p.metric: _declared(p) for p in self._trials}),
            "seed": request.seed if request.rule.blocks > 1 else None,
            "repeat_with": shlex.join(request.command),
        }
        write_manifest(self.folder, self._document)

    def trial(self, planned: Planned) -> Trial:
        """The trial that a test is."""
        return self._trials[planned]

    def append(self, record: TrialRecord) -> None:
        """Write what happened in a trial, and wait until it is on the disk."""
        self._journal.append(record)

    def drop(self, planned: Planned) -> None:
        """A test that measured nothing, because it was skipped, was no trial."""
        self._dropped.add(planned)

    def close(
        self, verified: Mapping[str, Verified], late: Sequence[Guard] = ()
    ) -> Sequence[TrialRecord]:
        """End the run; returns its trials. A run without any leaves no folder.

        Where pytest ended before the last test, what is left of the plan was not run.
        """
        self._stack.close()
        found = {record.trial: record for record in records(self.folder)}
        executed = [
            trial
            for planned, trial in self._trials.items()
            if trial.trial in found or planned not in self._dropped
        ]
        if not found:
            _remove(self.folder)
            return []
        interrupted = any(
            trial.trial not in found or found[trial.trial].outcome is Outcome.INTERRUPTED
            for trial in executed
        )
        elapsed_s = (now_ns() - self._begin_ns) / 1e9
        rule = self._request.rule
        end = ended(rule, Stop.BLOCKS, Tally(rule.metrics, found.values()), elapsed_s)
        write_manifest(
            self.folder,
            manifest.end(
                self._request, self._document, executed, verified,
                None if interrupted else end, interrupted, late,
            ),
        )  # fmt: skip
        return list(found.values())


def _trials(planned: Sequence[Planned]) -> Mapping[Planned, Trial]:
    found: dict[Planned, Trial] = {}
    positions: dict[int, int] = {}
    for each in planned:
        position = positions[each.block] = positions.get(each.block, -1) + 1
        found[each] = Trial(
            trial=f"{len(found):05d}", experiment=EXPERIMENT, runtime=each.runtime,
            block=each.block, position=position,
        )  # fmt: skip
    return found


def _declared(planned: Planned) -> Metric:
    path = planned.nodeid.partition("[")[0]
    return Metric(
        name=planned.metric, unit="s", better="lower",
        description=f"a round of {path} by pytest-benchmark's clock: the median of one trial",
    )  # fmt: skip


def _in_order() -> Guard:
    return Guard(
        name="order", value="as collected", severity=INFO,
        text="Each test was run once a runtime, in the order in which pytest collected them; "
        "with --box-trials the order is random, and medians have intervals.",
    )  # fmt: skip


def _remove(folder: Path) -> None:
    for path in (folder / MANIFEST, *folder.glob("journal.jsonl")):
        path.unlink(missing_ok=True)
    folder.rmdir()
