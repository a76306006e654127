"""Samples that are not measured but follow from others: they stand in every table and export.

`ladder.added` of a trial is its `ladder.ready` less that of the rung below in the same block.
Derived rows are made whenever a run is read, right after the row that they follow from, so that
a stored table and a journal give the same, and a better formula reaches old runs too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

READY, ADDED = "ladder.ready", "ladder.added"
DERIVED = (ADDED,)


def rungs(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The scenario's rungs as the manifest has them; none where it has no ladder."""
    experiments = manifest.get("scenario", {}).get("experiments", {})
    found: Sequence[Mapping[str, Any]] = (experiments.get("ladder") or {}).get("rungs", ())
    return found


def with_derived(manifest: Mapping[str, Any], samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with the rows that follow from them, in the order of trials."""
    kept = samples[~samples["metric"].isin(DERIVED)].reset_index(drop=True)
    ready = kept[kept["metric"] == READY]
    by_runtime = {rung["runtime"]: rung for rung in rungs(manifest)}
    by_name = {rung["name"]: rung for rung in rungs(manifest)}
    known = {
        (runtime, block): value
        for runtime, block, value in zip(
            ready["runtime"], ready["block"], ready["value"], strict=True
        )
    }
    added: dict[Any, tuple[float, str]] = {}
    for index, row in ready.iterrows():
        rung = by_runtime.get(row["runtime"], {})
        if rung.get("over") is None:
            continue
        below = known.get((by_name[rung["over"]]["runtime"], row["block"]))
        if below is not None:
            told = {"over": rung["over"], "rung": rung["name"]}
            text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            added[index] = (row["value"] - below, text)
    if not added:
        return kept
    rows = kept.loc[list(added)].copy()
    rows["metric"] = ADDED
    rows["value"] = [value for value, _ in added.values()]
    rows["dimensions"] = [text for _, text in added.values()]
    return pd.concat([kept, rows]).sort_index(kind="stable").reset_index(drop=True)
