"""Predictions and answers of a class beside what was measured.

A guess is checked against a column of any table of the analysis, an answer to an exercise against
what the reader was asked to work out. Whoever left a blank is told nothing: neither the measured
value nor the right answer, so that a page that is opened can still be predicted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from harness.analysis.api import UNITS, medians
from harness.analysis.frames import RunData
from harness.analysis.language import say
from harness.errors import UsageError

KINDS = "kinds"
"""Where a table of guesses keeps each row's class and whether it was emulated."""

_RATIO = "×"
_CLOSE = 0.05
"""How far from the right number an answer may be that was read or rounded."""


def check_guesses(
    run: RunData, metric: str, guesses: Mapping[str, float | None], **dimensions: str
) -> pd.DataFrame:
    """Predictions beside what was measured: a row a runtime that was guessed at.

    `off` is the larger of the two over the smaller: 1 is exact, 10 a tenfold miss. Where the
    guess is None, none was made, and the answer is not told either. Raises UsageError for a
    runtime that the run does not have.
    """
    return guesses_beside(medians(run, metric, **dimensions), guesses)


def guesses_beside(
    table: pd.DataFrame, guesses: Mapping[str, float | None], column: str = "median"
) -> pd.DataFrame:
    """The same for a column of any table: a row a name that was guessed at, in that order.

    Raises UsageError for a column or a name that the table does not have, and for a guess or a
    measured value that is no size.
    """
    if column not in table:
        raise UsageError(f"the table has no column {column!r}", f"it has {_names(table.columns)}")
    unknown = [name for name in guesses if name not in table.index]
    if unknown:
        raise UsageError(f"the run measured no {', '.join(unknown)}", f"it has {_names(table)}")
    bad = [n for n, guess in guesses.items() if guess is not None and not 0 < guess < math.inf]
    if bad:
        raise UsageError(f"the guess for {', '.join(bad)} is not above 0", "guess in base units")
    made = pd.Series(guesses, dtype=float)
    asked = table.loc[list(guesses)]
    found = asked.reindex(columns=[column, "low", "high"]).astype(float).where(made.notna())
    found.insert(0, "guess", made)
    signed = [str(name) for name in found.index[found[column] <= 0]]
    if signed:
        raise UsageError(
            f"what was measured of {', '.join(signed)} is not above 0", "it has no ratio to a guess"
        )
    size = made / found[column]
    found["off"] = size.where(size >= 1, 1 / size)
    unit = table.attrs.get(UNITS, {}).get(column, "1")
    found.attrs[UNITS] = dict.fromkeys(("guess", column, "low", "high"), unit) | {"off": _RATIO}
    found.attrs[KINDS] = _kinds(asked)
    return found


def check_answers(answers: Mapping[str, object], right: Mapping[str, object]) -> pd.DataFrame:
    """Answers to an exercise, a row a question: what was given, and whether it is `right`.

    A number is right within 5 %; several names are right in any order. The right answer is not
    told. Raises UsageError for a question that was not asked.
    """
    unknown = [question for question in answers if question not in right]
    if unknown:
        raise UsageError(f"nobody asked {', '.join(unknown)}", f"asked was {_names(right)}")
    given, held = say("answer"), say("is")
    rows = {q: {given: answers.get(q), held: _verdict(answers.get(q), right[q])} for q in right}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[given, held], dtype=object)
    return table.rename_axis(say("question"))


def _verdict(answer: object, right: object) -> str:
    if answer is None:
        return say("owed")
    return say("right") if _same(answer, right) else say("not yet")


def _same(answer: object, right: object) -> bool:
    if isinstance(right, int | float) and not isinstance(right, bool):
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            return False
        return math.isclose(answer, right, rel_tol=_CLOSE)
    if isinstance(right, set | frozenset):
        return isinstance(answer, set | frozenset | list | tuple) and set(answer) == right
    return answer == right


def _kinds(table: pd.DataFrame) -> dict[str, tuple[str, bool]]:
    if "class" not in table or "emulated" not in table:
        return {}
    return {
        str(name): (str(kind), bool(emulated))
        for name, kind, emulated in zip(table.index, table["class"], table["emulated"], strict=True)
    }


def _names(several: object) -> str:
    listed = several.index if isinstance(several, pd.DataFrame) else several
    return ", ".join(str(each) for each in listed)  # type: ignore[attr-defined]
