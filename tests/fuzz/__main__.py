"""`python -m tests.fuzz [--seconds N] [--engine atheris] [--seed N] [TARGET]…`: a campaign.

Each target is fed for so many seconds. What breaks a promise is kept in the current folder as
`broken-TARGET`, and `--replay FILE TARGET` feeds it again. The status is 1 where one broke.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from tests.fuzz.campaign import Tally, by_atheris, by_hypothesis, table
from tests.fuzz.promises import Broken, hold
from tests.fuzz.targets import targets


def main() -> int:
    """The campaign as the command line asks for it."""
    known = targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", choices=[[], *known], help="default: all")
    parser.add_argument("--seconds", type=int, default=30, help="of each target")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--seed", type=int, default=0, help="the first of hypothesis's seeds")
    parser.add_argument("--replay", type=Path, help="feed this file, once")
    asked = parser.parse_args()
    logging.disable()
    chosen = [known[name] for name in asked.target or known]
    if asked.replay:
        read = [hold(target, asked.replay.read_bytes()) for target in chosen]
        print(*("read" if each else "refused" for each in read), sep="\n")
        return 0
    tallies: list[Tally] = []
    for target in chosen:
        if asked.engine == "atheris":
            with tempfile.TemporaryDirectory() as folder:
                tally = by_atheris(target, asked.seconds, Path(folder))
        else:
            tally = by_hypothesis(target, asked.seconds, asked.seed)
        tallies.append(tally)
        print(f"… {tally.target}: {tally.inputs} inputs", file=sys.stderr, flush=True)
        if tally.broken:
            Path(f"broken-{target.name}").write_bytes(tally.culprit)
            print(tally.broken, file=sys.stderr)
    print(table(tallies))
    return 1 if any(tally.broken for tally in tallies) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as error:
        sys.exit(str(error))
