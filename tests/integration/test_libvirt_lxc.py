"""Containers of libvirt's LXC driver: a private daemon that goes, and a host's that stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from harness.clock import Marks
from harness.errors import ChannelError, RuntimeUnavailable
from harness.experiments import ledger
from harness.inventory import cleaners
from harness.model import MIB, Context, HasDaemon, HasStorage, Job, Limits, Mark, Runtime
from harness.probes.cgroups import run_group_name
from harness.process import become_subreaper
from runtimes.daemon_parts import argv_of
from runtimes.libvirt_daemon import KIND as DAEMON
from runtimes.libvirt_daemon import PrivateLibvirt, daemons
from runtimes.libvirt_lxc import DRIVER, LibvirtLxc
from runtimes.libvirt_start import KIND, container_processes, domains
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

NAME = "libvirt-lxc"


@pytest.fixture
def runtime(lab: Lab) -> Runtime:
    return runtime_or_skip(lab, NAME)


def test_a_container_has_its_controller_beside_it(lab: Lab, runtime: Runtime) -> None:
    assert isinstance(runtime, HasDaemon)
    marks = Marks()
    with lab.instance(NAME, Limits(memory_bytes=64 * MIB), marks) as box:
        init, controller = box.processes()
        assert Path(argv_of(controller)[0]).name == "libvirt_lxc"
        assert isinstance(box, ledger.JoinsLate)
        assert (*box.joined_late(),) == (controller,)
        assert (ledger.charged(box) or 0) > 512 * 1024
        groups = box.cgroups()
        assert groups
        assert all(lab.context.cgroup in str(group) for group in groups)
        assert {init, controller} == {
            int(pid) for pid in (groups[0] / "cgroup.procs").read_text().split()
        }
        (entry,) = [entry for entry in lab.inventory_entries() if entry.kind == KIND]
        assert (*container_processes(entry.name, entry.details["uuid"]),) == (init, controller)
        assert domains.exists(entry.name, entry.details)
    assert not domains.exists(entry.name, entry.details)
    order = [Mark.REQUEST, Mark.STARTED, Mark.READY, Mark.STOP, Mark.EXITED, Mark.REMOVED]
    assert {str(mark) for mark in order} == set(marks.freeze())


class Deaf(dict[str, Event]):
    """Finds no domain that an event tells of: so it is as if the event had been lost."""

    def get(self, *_: object) -> None:  # type: ignore[override]
        return None


def test_an_end_that_no_event_tells_is_found_by_asking(
    lab: Lab, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(runtime, LibvirtLxc)
    monkeypatch.setattr(runtime._connection, "_gone", Deaf())
    marks = Marks()
    with lab.instance(NAME, Limits(memory_bytes=64 * MIB), marks):
        (entry,) = [entry for entry in lab.inventory_entries() if entry.kind == KIND]
    assert not domains.exists(entry.name, entry.details)
    frozen = marks.freeze()
    assert frozen[Mark.EXITED] < frozen[Mark.REMOVED]


def test_a_domain_that_libvirt_does_not_forget_is_destroyed(lab: Lab, runtime: Runtime) -> None:
    """A controller that does not go is one way to it; a daemon that misses the end is another."""
    del runtime
    with lab.instance(NAME, Limits(memory_bytes=64 * MIB)) as box:
        (entry,) = [entry for entry in lab.inventory_entries() if entry.kind == KIND]
        _, controller = box.processes()
        os.kill(controller, signal.SIGSTOP)
    assert not domains.exists(entry.name, entry.details)
    with pytest.raises(ProcessLookupError):
        os.kill(controller, 0)


def test_it_has_a_loopback_and_no_other_network(lab: Lab, runtime: Runtime) -> None:
    del runtime
    with lab.instance(NAME) as box:
        done = box.run(Job(["/usr/bin/busybox", "ls", "/sys/class/net"]))
        assert done.stdout.read() == b"lo\n"


def test_a_volume_lies_on_the_host_s_disk(lab: Lab, runtime: Runtime) -> None:
    del runtime
    with lab.instance(f"{NAME},storage=volume") as box:
        assert isinstance(box, HasStorage)
        place = box.storage()
        box.run(Job(["/usr/bin/busybox", "touch", f"{place.path}/here"]))
        assert place.host is not None
        assert (place.host / "here").exists()


def test_a_domain_is_ended_by_whoever_finds_the_entry(lab: Lab, runtime: Runtime) -> None:
    del runtime
    with lab.instance(NAME) as box:
        (entry,) = [entry for entry in lab.inventory_entries() if entry.kind == KIND]
        domains.remove(entry.name, entry.details)
        assert not domains.exists(entry.name, entry.details)
        with pytest.raises(ChannelError):
            box.run(Job(["/usr/bin/busybox", "true"]))


class Printing:
    """An inventory that another process reads."""

    def will_make(self, kind: str, name: str, **details: str) -> None:
        print(json.dumps([kind, name, details]), flush=True)

    def removed(self, kind: str, name: str) -> None:
        pass


def die_with_a_container(state: str, scratch: str, image: str, digest: str) -> None:
    """A harness that is killed when its container is ready; run in a process of its own."""
    from harness.model import Image, InstanceSpec

    run_id = Path(state).name
    context = Context(run_id, Path(scratch), Path(state), f"tarebench.{run_id}", Printing())
    runtime = LibvirtLxc(NAME, {}, context)
    box = Image(digest, Path(image), "", ())
    for folder in ("box", "sockets"):
        Path(scratch, folder).mkdir()
    spec = InstanceSpec(
        f"tb-{run_id}", run_id, box, Limits(), Path(scratch, "box"), Path(scratch, "sockets")
    )
    with runtime.launch(spec, Marks()):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_harness_leaves_nothing_that_clean_does_not_find(
    lab: Lab, runtime: Runtime, tmp_path: Path
) -> None:
    del runtime
    become_subreaper()
    state = lab.place.state / "dies"
    state.mkdir(mode=0o700)
    code = "import sys; from tests.integration.test_libvirt_lxc import *; "
    code += "die_with_a_container(*sys.argv[1:])"
    argv = [sys.executable, "-c", code, str(state), str(tmp_path)]
    done = subprocess.run(
        [*argv, str(lab.image.directory), lab.image.digest], stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kind for kind, _, _ in made] == [DAEMON, KIND]
    (_, folder, daemon), (_, name, domain) = made
    assert daemons.exists(folder, daemon)
    domains.remove(name, domain)
    assert not domains.exists(name, domain)
    for _ in range(2):
        daemons.remove(folder, daemon)
        assert not daemons.exists(folder, daemon)
    groups, group = cleaners()["cgroup"], run_group_name("dies")  # a run has it on its inventory
    groups.remove(group, {})
    assert not groups.exists(group, {})
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
                if str(tmp_path) in line]  # fmt: skip


@pytest.fixture
def other_daemon(lab: Lab, runtime: Runtime) -> Iterator[str]:
    """A daemon that runs already, by its URI: to the runtime it is as good as the host's."""
    del runtime
    state = lab.place.state / "other"
    state.mkdir(mode=0o700)
    group = f"{lab.context.cgroup}/other"
    context = Context("other", lab.context.cache, state, group, lab.context.inventory)
    daemon = PrivateLibvirt(context, DRIVER)
    daemon.acquire()
    yield daemon.uri
    daemon.release()


def test_a_daemon_that_is_there_is_used_and_left_alone(lab: Lab, other_daemon: str) -> None:
    uri = other_daemon.replace(",", "%2C")
    name = f"{NAME},uri={uri}"
    runtime = lab.runtime(name)
    assert isinstance(runtime, HasDaemon)
    assert runtime.shared_daemon
    with lab.instance(name) as box:
        kinds = [entry.kind for entry in lab.inventory_entries()]
        assert kinds.index(KIND) < kinds.index("mount")
        assert box.run(Job(["/usr/bin/busybox", "true"])).exit_status == 0
    assert "mount" not in [entry.kind for entry in lab.inventory_entries()]
    daemon = runtime.daemon_processes()
    runtime.close()
    del lab.runtimes[name]
    for pid in daemon:
        os.kill(pid, 0)


def test_a_daemon_that_is_not_there_is_told(lab: Lab) -> None:
    runtime = LibvirtLxc(NAME, {"uri": "lxc:///system?socket=/nowhere"}, lab.context)
    with pytest.raises(RuntimeUnavailable, match="no libvirt daemon answers at /nowhere") as caught:
        runtime.probe()
    assert caught.value.hint
    runtime.close()
