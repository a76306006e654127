"""Every metric that a run can hold: name, unit, which direction is better, and what it means."""

from __future__ import annotations

from collections.abc import Mapping

from harness.model import Metric


def _seconds(name: str, description: str) -> Metric:
    return Metric(name=name, unit="s", better="lower", description=description)


def _rate(name: str, description: str) -> Metric:
    return Metric(name=name, unit="1/s", better="higher", description=description)


def _bytes(name: str, description: str) -> Metric:
    return Metric(name=name, unit="bytes", better="lower", description=description)


def _kept(name: str, description: str) -> Metric:
    return Metric(name=name, unit="1", better="higher", description=description)


def _shared(name: str, description: str) -> Metric:
    return Metric(name=name, unit="1", better="lower", description=description)


_ALL = (
    _seconds("startup.created", "request until the runtime says that the instance exists"),
    _seconds("startup.started", "request until the runtime's start call returned"),
    _seconds("startup.vmm", "request until the VMM opened the channel (machines)"),
    _seconds("startup.init", "request until the agent's first instruction (shared kernel only)"),
    _seconds("startup.ready", "request until READY arrived: the box can take its first job"),
    _seconds("startup.job", "request until the end of the first job, run right after READY"),
    _seconds("startup.served", "request until the first answer of a service, started after READY"),
    _seconds("startup.stop", "request until the harness asked for the end"),
    _seconds("startup.exited", "request until the box's init or VMM was dead"),
    _seconds("startup.removed", "request until nothing of the box was left"),
    _seconds("startup.teardown", "from asking for the end until nothing was left"),
    _seconds("startup.cpu", "CPU seconds that the host spent on the launch, client included"),
    _bytes("startup.read", "read from the image's and programs' devices until READY (cold starts)"),
    Metric(name="parallel.rate", unit="1/s", better="higher",
           description="good launches a second, several at a time, until the last is ready"),
    Metric(name="parallel.ceiling", unit="1/s", better="higher",
           description="the same of the agent alone: the most that the harness itself can start"),
    Metric(name="parallel.failures", unit="1", better="lower",
           description="launches of one trial that did not come to READY"),
    _seconds("parallel.ready", "request until READY with others starting beside, by quantile"),
    _seconds("parallel.launch", "the same of each single launch of a trial"),
    _seconds("parallel.cpu", "CPU seconds that the host spent, a launch"),
    _seconds("phases.firmware", "request until the firmware's first byte (instrumented boots)"),
    _seconds("phases.loader", "request until the boot loader reads its file (instrumented boots)"),
    _seconds("phases.kernel", "request until the guest kernel's first byte (instrumented boots)"),
    _seconds("phases.init", "request until PID 1's first instruction in the same boots"),
    _seconds("phases.ready", "request until READY in the same instrumented boots"),
    _seconds("ladder.ready", "request until READY of one launch, on its own, on one rung"),
    _seconds("ladder.added", "the same less that of the rung below in the same block; charts show "
             "the difference of the two medians, which may be another"),
    _bytes("memory.charged", "an instance's own memory: cgroup charge, and PSS outside of it"),
    _bytes("memory.host_delta", "fall of the host's free and reclaimable memory, an instance"),
    _bytes("memory.remainder", "host_delta less charged: what the ledger cannot explain"),
    _bytes("memory.pss", "proportional set size of every process of the box"),
    _bytes("memory.rss", "resident set size; counts shared pages once a process"),
    _bytes("memory.guest_ram", "host memory that backs the guest's RAM (machines)"),
    _bytes("memory.vmm_overhead", "PSS of the VMM beyond the guest's RAM (machines)"),
    _bytes("memory.taken", "what an instance took when it wrote its bytes, by side of the ledger"),
    Metric(name="memory.returned", unit="bytes", better="higher",
           description="what came back when an instance freed them, or its balloon took them"),
    _bytes("memory.cache.first", "charged to the first instance that reads files of the image"),
    _bytes("memory.cache.next", "charged to each further instance that reads the same files"),
    _bytes("memory.cache.host", "fall of the host's free memory over all these instances"),
    Metric(name="density.instances", unit="1", better="higher",
           description="instances held when the ramp ended (dimension stop: by which rule)"),
    _seconds("density.ready", "request until READY of the n-th instance of a ramp"),
    _bytes("density.slope", "an instance's own memory, touched set included: slope of charged"),
    _bytes("density.slope_host", "fall of the host's memory an instance: slope of host_delta"),
    _bytes("density.harness", "growth of the harness itself an instance, in PSS"),
    _bytes("density.remainder", "slope_host less slope and harness: what nothing explains"),
    _bytes("density.charged", "charged to n instances together"),
    _bytes("density.host_delta", "fall of the host's memory since the ramp began, at n instances"),
    Metric(name="density.available", unit="bytes", better="higher",
           description="memory that the host says is available, at n instances"),
    Metric(name="density.rate", unit="1/s", better="higher",
           description="launches a second from request to READY, preparation not counted"),
    _seconds("density.latency", "open-loop request to a running instance, by n and quantile; "
             "with `service`, to the service in it and not to the agent"),
    Metric(name="density.unanswered", unit="1", better="lower",
           description="requests at n instances that were never answered"),
    Metric(name="density.merged", unit="bytes", better="higher",
           description="memory that KSM saves at n instances, when whole scans change nothing"),
    _seconds("density.teardown", "from asking the first to end until nothing of any was left"),
    _rate("cpu.events", "sysbench's events: primes up to 10,000 found by plain computing"),
    _rate("cpu.memory", "bytes that sysbench writes to memory, in blocks of 1 MiB"),
    _rate("cpu.syscalls", "rounds of a fixed set of system calls on /dev/null (stress-ng)"),
    _rate("cpu.switches", "messages between two processes, a context switch each (stress-ng)"),
    _rate("cpu.forks", "processes forked and waited for (stress-ng)"),
    _rate("cpu.faults", "rounds of mapping 64 KiB and touching every page (stress-ng)"),
    _rate("cpu.compress", "bytes that 7-Zip compresses with LZMA in its benchmark"),
    _rate("io.randread.iops", "random reads of 4 KiB a second, direct I/O, by depth"),
    _seconds("io.randread.latency", "of one such read, from submission, by depth and quantile"),
    _rate("io.randwrite.iops", "random overwrites of 4 KiB a second, direct I/O, by depth"),
    _seconds("io.randwrite.latency", "of one such write, from submission, by depth and quantile"),
    _rate("io.seqread.bandwidth", "bytes read a second by sequential requests of 1 MiB, direct"),
    _seconds("io.seqread.latency", "of one such read, from submission, by quantile"),
    _rate("io.seqwrite.bandwidth", "bytes overwritten a second by such requests, direct"),
    _seconds("io.seqwrite.latency", "of one such write, from submission, by quantile"),
    _seconds("io.fsync.latency", "of one fsync after each direct 4 KiB write, by quantile"),
    Metric(name="io.fsync.calls", unit="1", better="higher", description="fsyncs of that job"),
    Metric(name="io.fsync.flushes", unit="1", better="lower",
           description="flush requests that the host's device completed meanwhile"),
    Metric(name="io.bytes", unit="bytes", better="higher",
           description="what fio says that a job read or wrote, by job and depth"),
    _bytes("io.box_bytes", "what the box's own processes asked a device for meanwhile"),
    _bytes("io.device_bytes", "what the host's block device read or wrote meanwhile"),
    _seconds("cow.create", "to make the root of a box from the image, without a box, by form"),
    _bytes("cow.create_bytes", "what such a root takes on the disk before anything is written"),
    _seconds("cow.first_write", "a program that writes and syncs a page of a file of the image, "
             "by the file's size; its start is in it"),
    _seconds("cow.next_write", "the same page by the same program once more"),
    _bytes("cow.first_write_bytes", "what the first such write takes on the disk"),
    _bytes("cow.fleet_bytes", "what boxes take on the disk together, with what they share once"),
    _bytes("cow.added_bytes", "what a second image takes on the disk beside the first"),
    Metric(name="cow.shared_bytes", unit="bytes", better="higher",
           description="what of a second image is on the disk already, being the first one's"),
    _seconds("registry.push", "an engine's push of an image to an empty registry on this host "
             "(cold), and of one with a layer more (shared)"),
    _bytes("registry.push_bytes", "what the registry then holds more, compressed"),
    _seconds("registry.pull", "the pull of the same two by an engine that has nothing of them"),
    _bytes("registry.pull_bytes", "what the registry sends for that"),
    _seconds("registry.disk_copy", "the copy of a machine's disk with the same files, as a file"),
    _bytes("registry.disk_copy_bytes", "what that copy takes on the disk, without its holes"),
    _kept("isolation.kernel", "1 where the box has a kernel of its own, else 0"),
    _kept("isolation.namespace", "1 where the box has such a namespace of its own, by namespace"),
    _shared("isolation.root", "1 where root inside is root of the host by its user number"),
    _kept("isolation.no_new_privs", "1 where no program can gain rights by being executed"),
    _kept("isolation.seccomp", "1 where system calls go through a filter"),
    _kept("isolation.lsm", "1 where a profile of a Linux security module confines the box"),
    _kept("isolation.limits", "1 where the host holds the box in control groups of its own"),
    _shared("isolation.mounts", "mounts in the box that are filesystems of the host's own table"),
    _shared("isolation.interfaces", "network interfaces of the host that the box sees"),
    _shared("isolation.capabilities", "capabilities that a process has, or could get, by set"),
    _shared("isolation.calls", "system calls that answer, of those that are asked for"),
    _shared("isolation.processes", "processes that the box sees where one of the host's is seen"),
    _shared("isolation.devices", "device nodes of the host that may be opened, harmless ones not"),
    _shared("isolation.keys", "1 where a key of the host's root is seen"),
    _shared("isolation.loopback", "1 where a listener on the host's loopback is reached"),
    _shared("isolation.log", "1 where the host kernel's log can be read"),
    _shared("isolation.disk", "1 where a block device of the host opens for writing"),
    _shared("isolation.module", "1 where the host's kernel would take a module"),
    _shared("isolation.clock", "1 where the host's clock can be changed"),
    _shared("isolation.escape", "1 where the classic escape from a chroot reads a file outside"),
    _seconds("interference.victim", "one iteration of a victim beside an aggressor, by quantile"),
    _shared("interference.slowdown", "the same over that without a neighbour, in the same trial"),
    _seconds("lifecycle.ready", "request until READY in the same trial, beside what follows"),
    _seconds("lifecycle.pause", "from asking until the runtime says that the box stands still"),
    _seconds("lifecycle.resume", "from asking until it answers what it was asked meanwhile"),
    _seconds("lifecycle.save", "until a machine or a container is in files, and gone"),
    _bytes("lifecycle.save_bytes", "what those files take of the disk"),
    _seconds("lifecycle.restore", "from asking for what was saved until its first answer"),
    _seconds("lifecycle.stop", "from asking a box to end until its init or VMM is dead"),
    _seconds("system.served", "request until the last part of an application answers, by layout"),
    _bytes("system.memory", "charged to all of its boxes then, by layout"),
    _seconds("job.duration", "a workload of one's own, from its start to its end on the host"),
    _seconds("job.cpu", "CPU seconds of the workload's processes, as the box's kernel counts"),
    _seconds("imported.wall", "a command's run or a benchmark's round, as another tool timed it"),
    _bytes("imported.memory", "the most that such a run held resident, as hyperfine tells"),
    _seconds("canary.work", "a fixed piece of arithmetic in the harness: the host's own drift"),
    Metric(name="canary.busy", unit="1", better="lower",
           description="share of the host's CPU time used while the harness idles"),
    _bytes("canary.memory_variation", "range of the host's free memory while the harness idles"),
    _seconds("floor.ready", "fork, exec and READY of the agent with no runtime at all"),
    _seconds("floor.exited", "the same until its end"),
    _seconds("repeat.ready", "the first measured trial's READY, measured again at the end"),
    _seconds("trial.wall", "the whole trial, untimed preparation included"),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}

DECIDING: Mapping[str, str] = {
    "startup": "startup.ready",
    "memory": "memory.charged",
    "density": "density.slope",
    "ladder": "ladder.ready",
    "cow": "cow.create",
    "registry": "registry.push",
}
"""The metric of an experiment whose medians `--until` looks at; else its first headline."""

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "startup": ("startup.served",),
    "cpu": ("cpu.events", "cpu.syscalls", "cpu.forks", "cpu.compress"),
    "io": ("io.randread.iops", "io.randwrite.iops", "io.seqread.bandwidth"),
    "job": ("job.duration", "job.cpu"),
    "cow": ("cow.create", "cow.first_write", "cow.fleet_bytes"),
    "registry": ("registry.push", "registry.push_bytes", "registry.pull", "registry.pull_bytes"),
    "density": ("density.instances", "density.slope", "density.rate", "density.remainder"),
    "interference": ("interference.slowdown",),
    "lifecycle": ("lifecycle.stop", "lifecycle.pause", "lifecycle.resume", "lifecycle.restore"),
    "system": ("system.served", "system.memory"),
    "parallel": ("parallel.rate", "parallel.ceiling", "parallel.ready", "parallel.failures"),
}
"""What the closing table of a terminal shows of each experiment beyond startup and memory."""
