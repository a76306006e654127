"""Waiting until the kernel has forgotten an earlier launch: RCU grace periods as an event.

After a process has joined a control group the kernel's lock for that (cgroup_threadgroup_rwsem)
stays in its writer's mode until a grace period has gone by. membarrier(2) with its command
GLOBAL returns when one has (kernel/sched/membarrier.c: it is synchronize_rcu), so that is
waited for and no time is guessed.
"""

from __future__ import annotations

import ctypes
import platform

_SYS_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_GLOBAL = 1
_PERIODS = 3
"""One for the lock's own, which begins when it is released and is told by a callback: the
callback is batched with others, hence another; and one more for a release that is late."""

_libc = ctypes.CDLL(None, use_errno=True)


def wait() -> bool:
    """Wait for grace periods; False where the kernel offers no way to (nohz_full refuses)."""
    number = _SYS_MEMBARRIER.get(platform.machine())
    if number is None:
        return False
    return all(_libc.syscall(number, _GLOBAL, 0, 0) == 0 for _ in range(_PERIODS))
