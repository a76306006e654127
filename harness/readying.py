"""A runtime made ready to launch, or a reason why not, within a bounded time.

What stands behind an adapter may be half installed, broken, or silent: a daemon that accepts a
connection and never answers can hold its caller for ever, and not every library has a time
limit. So an adapter looks and prepares in a thread that is given up when it takes too long: the
others go on, and what it may have begun is in the inventory.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TypeVar

from harness import registry
from harness.clock import HEARS_EVERY_S, Deadline
from harness.cpuid import patience
from harness.errors import HarnessError, RuntimeUnavailable, brief
from harness.model import Context, Image, Runtime, RuntimeFacts

log = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_LIMIT_S = 90.0
"""More than any probe needs that works: a guest may be booted to see whether KVM does."""
PREPARE_LIMIT_S = 1200.0
"""More than the time limit of any one call in it, which says more when it is over: what is left to
this one are calls that have none."""
_GRACE_S = 30.0
"""What is given to an interrupted adapter, to undo what it has begun before the rest is torn down:
as long as it takes to end a daemon."""


def ready(
    name: str,
    context: Context,
    image: Image | None,
    stack: ExitStack,
    tell: Callable[[str, str], None] = lambda name, step: None,
) -> tuple[Runtime, RuntimeFacts]:
    """Create and probe a runtime, and prepare it where there is an image; `stack` closes it.

    Raises UsageError for a name that means nothing, RuntimeUnavailable for a runtime that does
    not answer in time or breaks in an unforeseen way, and the adapter's own HarnessError.
    """
    runtime = registry.create(name, context)
    with ExitStack() as own:
        own.callback(runtime.close)
        try:
            tell(name, "looking")
            facts = _look(runtime)
            if image is not None:
                tell(name, "preparing its form of the image")
                _prepare(runtime, image)
                facts = _look(runtime)
        except NoAnswer:
            own.pop_all()  # whoever is still inside closes it
            raise
        stack.push(own.pop_all())
    return runtime, facts


class NoAnswer(RuntimeUnavailable):
    """An adapter that has not returned, and is left alone."""


def _look(runtime: Runtime) -> RuntimeFacts:
    return _bounded(runtime, runtime.probe, "looking at it", "it did not answer", PROBE_LIMIT_S)


def _prepare(runtime: Runtime, image: Image) -> None:
    prepare = functools.partial(runtime.prepare, image)
    _bounded(runtime, prepare, "preparing it", "it could not be prepared", PREPARE_LIMIT_S)


def _bounded(runtime: Runtime, call: Callable[[], T], doing: str, late: str, limit_s: float) -> T:
    """What an adapter returns within a bounded time; `doing` and `late` are words for people.

    Raises what it raises, and NoAnswer; a thread that is given up closes the runtime when it
    returns after all. An interruption of ours is one of the thread too.
    """
    answer: Future[T] = Future()
    over = threading.Event()  # and no join: one that is interrupted takes the thread for ended
    limit_s *= patience()

    def work() -> None:
        try:
            with _foreseen(doing):
                answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)
        finally:
            over.set()

    thread = threading.Thread(target=work, name=f"{doing}: {runtime.name}", daemon=True)
    try:
        thread.start()
        deadline = Deadline(limit_s)
        while not over.wait(min(HEARS_EVERY_S, deadline.left_s())) and not deadline.over:
            pass
    except BaseException:
        _interrupt(thread, over)
        raise
    if not over.is_set():
        answer.add_done_callback(lambda given_up: runtime.close())
        raise NoAnswer(
            f"{late} within {limit_s:g} s", "see whether its daemon hangs; restart or stop it"
        )
    return answer.result()


def _interrupt(thread: threading.Thread, over: threading.Event) -> None:
    """Raise SystemExit there, as soon as it is back from what the kernel or a library does, and
    wait until it is over.

    A thread cannot be sent a signal of its own that raises; and this one's end needs no words.
    """
    if thread.ident is not None and not over.is_set():
        number, kind = ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, kind)
        over.wait(_GRACE_S)


@contextlib.contextmanager
def _foreseen(what: str) -> Iterator[None]:
    """Turns a failure that its adapter did not foresee into a reason."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        log.exception("%s", what)
        raise RuntimeUnavailable(
            f"{what} failed: {type(error).__name__}: {brief(error)}",
            "--debug shows where; its adapter should have said more",
        ) from error
