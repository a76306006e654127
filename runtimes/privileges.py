"""What a box's root may not do: which capabilities it keeps, which system calls are refused.

One list for all native boxes, so that rungs of the cost ladder differ in who applies it.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.model import Parameter

CAPABILITY_BITS: Mapping[str, int] = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5,
    "CAP_MKNOD": 27, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SETFCAP": 31,
    "CAP_SETGID": 6, "CAP_SETPCAP": 8, "CAP_SETUID": 7, "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
}  # fmt: skip
"""Numbers of linux/capability.h."""

CAPABILITIES = tuple(CAPABILITY_BITS)
"""What Docker Engine grants by default, so that native and engine rows differ in the engine."""

CAPABILITY_MASK = sum(1 << bit for bit in CAPABILITY_BITS.values())

DENIED_CALLS = (
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_mempolicy", "init_module",
    "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "mbind", "mount",
    "mount_setattr", "move_mount", "move_pages", "open_by_handle_at", "open_tree",
    "perf_event_open", "pivot_root", "process_vm_readv", "process_vm_writev", "quotactl",
    "quotactl_fd", "reboot", "request_key", "set_mempolicy", "setdomainname", "sethostname",
    "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd",
    "vhangup",
)  # fmt: skip
"""What Docker's default profile keeps from a container with the capabilities above.

Docker's is a list of what is allowed, which also looks at arguments (docs.docker.com, Seccomp
security profiles); this one, of what is refused, is the part of it that a filter on numbers
can hold, and the same for every box that is given it.
"""

DEVICES: tuple[tuple[int, int | None], ...] = (
    (1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None),
)  # fmt: skip
"""Character devices that a box may open, by major and minor number (None: any): null, zero, full,
random, urandom, tty, ptmx and pts, the list of engines. A root with CAP_MKNOD makes any other
node, and opening that one is refused by the box's control group alone: runc adds this by itself,
crun and LXC when they are told."""

SECCOMP = Parameter("off", ("off", "on"), "refuse the system calls that engines refuse")
"""The parameter of runtimes that can be given the filter, or go without as by default."""
