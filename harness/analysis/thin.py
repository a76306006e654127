"""A part of a run that is small enough to carry around: whole blocks, drawn at random.

Blocks are what a run is made of: every runtime once, in random order. A part of them is
therefore paired like the whole run, and unbiased; what it costs is the width of intervals. The
draw is seeded, so that the same run always gives the same part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.analysis.frames import CONTRACT, EXTRA, STORED, RunData
from harness.analysis.rows import NUMBERS, Positions, Rows, Table, Words

MOST_SAMPLES = 20_000


def thinned(run: RunData, most: int = MOST_SAMPLES, seed: int = 0) -> RunData:
    """The run, or so many of its blocks that they hold at most `most` samples, but at least one.

    A part says in its notes what it is a part of, and leaves the plan of the whole run out of
    its manifest. Warm-ups are in the block whose number they have.
    """
    if run.rows.length <= most:
        return run
    there, drawn, chosen = _chosen(run, most, seed)
    rows = _part(run.rows, chosen)
    note = (
        f"{len(rows.wall)} of the run's {len(run.rows.wall)} trials are in this file, with all "
        f"their samples: {drawn} of {there} blocks, drawn at random (seed {seed})"
    )
    manifest: Mapping[str, Any] = {k: v for k, v in run.manifest.items() if k != "plan"}
    return RunData.of(manifest, rows, (*run.notes, note), run.folder)


def keep_texts(run: RunData) -> None:
    """From now on, what the trials of `thinned(run)` tell is kept when all of it is read, so that
    it is not read a second time for them."""
    if run.rows.length > MOST_SAMPLES:
        _, _, chosen = _chosen(run)
        run.rows.keep(_trials(run.rows, chosen))


def _chosen(run: RunData, most: int = MOST_SAMPLES, seed: int = 0) -> tuple[int, int, Positions]:
    """How many blocks there are, how many are drawn, and the rows of these."""

    def draw() -> tuple[int, int, Positions]:
        blocks = run.rows.numbers("block")
        begins = np.flatnonzero(np.append(True, blocks[1:] != blocks[:-1]))  # of rows of one block
        sizes = np.diff(np.append(begins, len(blocks)))
        there, drawn = _drawn(blocks[begins], sizes, most, seed)
        chosen = np.flatnonzero(np.repeat(np.isin(blocks[begins], drawn), sizes))
        return there, len(drawn), chosen

    return run.once(("chosen", most, seed), draw)


def _drawn(
    blocks: npt.NDArray[np.int64], sizes: Positions, most: int, seed: int
) -> tuple[int, Positions]:
    """How many blocks there are, and of these as many as hold at most so many rows."""
    found, of = np.unique(blocks, return_inverse=True)
    counts = np.bincount(of, weights=sizes)
    order = np.random.default_rng(seed).permutation(len(found))
    fit = int(np.searchsorted(np.cumsum(counts[order]), most, side="right"))
    return len(found), np.asarray(found[order[: max(fit, 1)]])


def _trials(rows: Rows, chosen: Positions) -> Positions:
    return np.flatnonzero(np.isin(rows.wall, chosen))


def _part(rows: Rows, chosen: Positions) -> Rows:
    places = _trials(rows, chosen)
    texts = {name: rows.texts(name, places) for name in ("trial", *STORED)}
    columns: dict[str, Any] = {}
    for name in (*CONTRACT, *EXTRA):
        if name in NUMBERS:
            columns[name] = rows.numbers(name)[chosen]
        elif name == "trial":  # of all columns the one whose words do not repeat
            of = np.searchsorted(rows.wall[places], chosen, side="right") - 1
            columns[name] = Words(of, texts["trial"].to_pylist()).arrow()
        else:
            columns[name] = rows.words(name).at(chosen).arrow()
    return Rows(Table(pa.table(columns), texts))
