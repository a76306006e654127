"""Work in a process of its own, beside this one.

Reading, sorting and parsing use all processors without Python (`rows.beside`); what is Python's
uses one. Of a run of a million trials that is half a minute, so the parts of its report that need
nothing of each other are worked out in forked processes, which find the columns that are
already read in their memory, and send back what they made.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeVar, cast

Found = TypeVar("Found")

WORTH = 1_000_000
"""Rows of a run from which on a process pays for itself."""


def apart(work: Callable[[], Found], rows: int) -> Callable[[], Found]:
    """What gives the result of `work`, which begins now for a run of so many rows; of a smaller
    one, or where this system or this machine has no use for it, when it is first asked for.

    The result must be picklable. What `work` raises is raised where the result is asked for.
    """
    if rows < WORTH or sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        return cache(work)
    system = multiprocessing.get_context("fork")
    here, there = system.Pipe(duplex=False)
    process = system.Process(target=_answer, args=(there, here, work), daemon=True)
    try:
        process.start()
    except OSError:  # no room for one more
        here.close()
        return cache(work)
    finally:
        there.close()

    def result() -> Found:
        try:
            with here:
                found = cast(Found, here.recv())
        except EOFError:  # it failed, or was ended (by want of memory): here it fails, or does not
            found = work()
        process.join()
        return found

    return cache(result)


def _answer(there: Connection, here: Connection, work: Callable[[], object]) -> None:
    here.close()
    gc.disable()  # it would touch, and so copy, all that the two share
    try:
        found = work()
    except Exception:
        return  # told by whoever does it again
    there.send(found)
