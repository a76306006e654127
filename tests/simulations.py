"""How often intervals and verdicts are right, on data whose truth is known.

`python -m tests.simulations` prints the tables of docs/statistics.md (some minutes), and with
`power 300` that of the power alone, of 300 runs a row; tests/unit/test_simulations.py holds the
same in small. Everything is drawn from seeded generators, and every decision is made by the code
that judges real runs: the intervals by `statistics.bounds`, verdicts by `verdicts.judge` and
`verdicts.control`, the end of a run that stops by itself by `harness.stopping`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness import stopping
from harness.analysis import statistics, verdicts
from harness.analysis.statistics import Floats
from harness.analysis.verdicts import Judgement, Pair, Verdict

SEED = 20261124
NOISE = 0.12
"""From trial to trial, as a share of the value: that of a container's start in the reference
runs is 8 to 13 %."""

QUIET = 0.08
DOCUMENTED_BLOCKS: Mapping[int, int] = {1: 20, 4: 30, 8: 30}
"""With this variation, so many blocks find a tenth in four of five runs, among so many
comparisons of a report (docs/statistics.md)."""

RESAMPLES = 1999
"""Where each interval is one of very many; a report draws five times as many."""

_SIZES: Mapping[float, Sequence[int]] = {
    0.05: (10, 12, 15, 20), 0.08: (20, 25, 30, 40), 0.12: (40, 50, 60, 80),
}  # fmt: skip
"""Blocks with which a tenth is looked for, by the variation from trial to trial."""

_TOGETHER = 50
"""Runs whose intervals come from the same draws of the bootstrap; each such group has its own."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Values of runs: blocks along the last axis."""


def lognormal(dice: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Skewed, as times are."""
    return dice.lognormal(0, NOISE, shape)


def ties(dice: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """The same as a coarse clock sees it: about ten different values in all."""
    return rounded(dice.lognormal(0, NOISE, shape))


def rounded(values: Floats) -> Floats:
    """Whole ticks of 0.05."""
    return np.round(values / 0.05) * 0.05


def two_modes(dice: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Three in ten take half as long again."""
    slow = np.where(dice.random(shape) < 0.3, 1.5, 1.0)
    return np.asarray(dice.lognormal(0, 0.05, shape) * slow)


def drift(dice: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """From a tenth below to a tenth above while the run goes on."""
    return np.asarray(dice.lognormal(0, NOISE, shape) * np.linspace(0.9, 1.1, shape[-1]))


SHAPES: Mapping[str, Draw] = {
    "log-normal": lognormal,
    "ties": ties,
    "two modes": two_modes,
    "drift": drift,
}


def truth(draw: Draw) -> float:
    """The true median, by a very large sample."""
    return float(np.median(draw(np.random.default_rng(1), (2_000_001,))))


def pairs(
    draw: Draw, dice: np.random.Generator, runs: int, n: int, weather: float = 0.1
) -> tuple[Floats, Floats]:
    """Two runtimes whose medians are as 1.1 to 1; what disturbs a block disturbs both."""
    shared = dice.lognormal(0, weather, (runs, n))
    found = (1.1 * draw(dice, (runs, n)) * shared, draw(dice, (runs, n)) * shared)
    return (rounded(found[0]), rounded(found[1])) if draw is ties else found


@dataclass(frozen=True)
class Coverage:
    """Shares of runs whose 95 % interval holds the truth."""

    median: float
    paired_ratio: float
    independent_ratio: float


def coverage(draw: Draw, n: int, runs: int, resamples: int = RESAMPLES) -> Coverage:
    """Of the median, of a ratio within a run, and of a ratio between two runs.

    The ratio of two runs has no shared weather: 1.1 is its truth only without."""
    dice, middle = np.random.default_rng([SEED, n]), truth(draw)
    hits = np.zeros(3)
    for number in range(runs // _TOGETHER):
        own = draw(dice, (_TOGETHER, n))
        low, high = statistics.bounds(
            (own,), statistics.median_of, seed=number, resamples=resamples
        )
        hits[0] += np.sum((low <= middle + 1e-9) & (high >= middle - 1e-9))
        for place, paired in ((1, True), (2, False)):
            two = pairs(draw, dice, _TOGETHER, n, weather=0.1 if paired else 0.0)
            low, high = statistics.bounds(
                two, statistics.ratio_of_medians, seed=number, paired=paired, resamples=resamples
            )
            hits[place] += np.sum((low <= 1.1 + 1e-9) & (high >= 1.1 - 1e-9))
    return Coverage(*(hits / (runs // _TOGETHER * _TOGETHER)))


def coverage_until(draw: Draw, width: float, runs: int, most: int = 400) -> tuple[float, int]:
    """The share of runs whose interval of the ratio holds 1.1, when each run was ended by
    `--until` (both medians known so well), and the median number of blocks that took."""
    dice, hits, lengths = np.random.default_rng(SEED), 0, []
    for _ in range(runs):
        new, base = (own[0] for own in pairs(draw, dice, 1, most))
        n = next(n for n in range(stopping.fewest(stopping.CONFIDENCE), most + 1)
                 if n == most or all(_known(own[:n], width) for own in (new, base)))  # fmt: skip
        low, high = statistics.bounds(
            (new[:n], base[:n]), statistics.ratio_of_medians, resamples=RESAMPLES
        )
        hits += bool(low <= 1.1 + 1e-9 and high >= 1.1 - 1e-9)
        lengths.append(n)
    return hits / runs, int(np.median(lengths))


def _known(values: Floats, width: float) -> bool:
    reached = stopping.half_width(values.tolist())
    return reached is not None and reached <= width


def report(
    dice: np.random.Generator,
    n: int,
    ratios: Sequence[float],
    *,
    noise: float = NOISE,
    common: float = 0.5,
    paired: bool = True,
    shape: Draw | None = None,
) -> list[Pair]:
    """What one report compares: as many pairs as `ratios`, each of a runtime with the same base.

    `common` is the share of the noise's variance that the metrics of one trial have in common:
    the marks of a start are parts of one another."""

    def trial() -> Iterator[Floats]:
        shared = dice.normal(0, 1, n)
        for _ in ratios:
            if shape is not None:
                yield shape(dice, (n,))
                continue
            own = dice.normal(0, 1, n)
            yield np.exp(noise * (np.sqrt(common) * shared + np.sqrt(1 - common) * own))

    base, new = list(trial()), list(trial())
    return [
        Pair(pd.Series(a), pd.Series(b * ratio), paired)
        for a, b, ratio in zip(base, new, ratios, strict=True)
    ]


def judged(pair: Pair, margin: float = 1.1) -> Judgement:
    """One comparison, before it must stand among the others of its report."""
    return verdicts.judge(pair, better="lower", margin=margin)


def power(
    n: int, reports: int, *, comparisons: int = 1, noise: float = NOISE, ratio: float = 1.1,
) -> float:  # fmt: skip
    """The share of reports that call the first of their comparisons worse; the others of the
    report are equal."""
    dice = np.random.default_rng([SEED, n, comparisons])
    found = []
    for _ in range(reports):
        first, *others = report(dice, n, [ratio, *[1.0] * (comparisons - 1)], noise=noise)
        among = verdicts.family([pair.p for pair in (first, *others) if pair.p is not None])
        found += [each.verdict for each in verdicts.control([judged(first)], among)]
    return found.count(Verdict.WORSE) / reports


def false_reports(
    n: int, reports: int, *, comparisons: int = 8, noise: float = NOISE, paired: bool = True,
    shape: Draw | None = None,
) -> int:  # fmt: skip
    """How many reports of equal things have a better or a worse."""
    dice = np.random.default_rng([SEED, n, comparisons])
    return sum(
        any(
            each.verdict.is_difference
            for each in verdicts.control(
                list(
                    map(
                        judged,
                        report(
                            dice, n, [1.0] * comparisons, noise=noise, paired=paired, shape=shape
                        ),
                    )
                )
            )
        )
        for _ in range(reports)
    )


def _print_coverage(runs: int) -> None:
    print("| shape | blocks | median | ratio in a run | ratio of two runs |")
    print("|---|---|---|---|---|")
    for name, draw in SHAPES.items():
        for n in (10, 20, 50):
            found = coverage(draw, n, runs)
            cells = (found.median, found.paired_ratio, found.independent_ratio)
            print(f"| {name} | {n} |", " | ".join(f"{cell:.1%}" for cell in cells), "|", flush=True)


def _print_until(runs: int) -> None:
    print("| shape | asked for | blocks (median) | ratio in a run |")
    print("|---|---|---|---|")
    for name, draw in SHAPES.items():
        for width in (0.05, 0.1):
            share, n = coverage_until(draw, width, runs)
            print(f"| {name} | {width:.0%} | {n} | {share:.1%} |", flush=True)


def _print_power(reports: int) -> None:
    print("| variation | comparisons | blocks | found | 95 % |")
    print("|---|---|---|---|---|")
    for noise, sizes in _SIZES.items():
        for comparisons, n in itertools.product((1, 4, 8), sizes):
            share = power(n, reports, comparisons=comparisons, noise=noise)
            rate = statistics.success_rate(round(share * reports), reports)
            assert rate is not None
            print(f"| {noise:.0%} | {comparisons} | {n} | {share:.0%} | "
                  f"{rate.low:.0%} to {rate.high:.0%} |", flush=True)  # fmt: skip


def _print_false(reports: int) -> None:
    print("| reports of equal things | blocks | with a false verdict | 95 % |")
    print("|---|---|---|---|")
    kinds: Mapping[str, Callable[[int], int]] = {
        "8 metrics of a trial": lambda n: false_reports(n, reports),
        "1 metric": lambda n: false_reports(n, reports, comparisons=1),
        "8 metrics, two runs": lambda n: false_reports(n, reports, paired=False),
        "8 metrics with ties": lambda n: false_reports(n, reports, shape=ties),
        "8 metrics with two modes": lambda n: false_reports(n, reports, shape=two_modes),
    }
    for name, count in kinds.items():
        for n in (10, 20):
            false = count(n)
            rate = statistics.success_rate(false, reports)
            assert rate is not None
            print(f"| {name} | {n} | {false} of {reports} | {rate.low:.1%} to {rate.high:.1%} |",
                  flush=True)  # fmt: skip


_TABLES: Mapping[str, tuple[Callable[[int], None], int]] = {
    "coverage": (_print_coverage, 2000),
    "until": (_print_until, 500),
    "power": (_print_power, 500),
    "false": (_print_false, 1000),
}
"""How each table is printed, and of how many simulated runs a row of it is."""


def main(*arguments: str) -> None:
    """The tables that are named, or all; a number is that of the runs of a row."""
    statistics.RESAMPLES = RESAMPLES
    runs = [int(each) for each in arguments if each.isdigit()]
    for name in [each for each in arguments if not each.isdigit()] or _TABLES:
        show, ordinary = _TABLES[name]
        show(runs[0] if runs else ordinary)


if __name__ == "__main__":
    main(*sys.argv[1:])
