"""Docker for real: an engine of our own, boxes in it, and nothing left of either."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.clock import Marks
from harness.errors import (
    DeadlineExceeded,
    HarnessError,
    LaunchFailed,
    RuntimeUnavailable,
    UsageError,
)
from harness.model import MIB, Context, Image, InstanceSpec, Job, Limits
from harness.probes.cgroups import Group, Layout
from harness.process import become_subreaper
from runtimes import bridge
from runtimes.bare import Bare
from runtimes.box import AgentBox
from runtimes.docker import KIND, Docker, containers
from runtimes.docker_api import connect
from runtimes.docker_engine import KIND as ENGINE
from runtimes.docker_engine import engines, require_startable
from tests.tiny import tiny_image

try:
    require_startable()
    _CANNOT = ""
except HarnessError as error:
    _CANNOT = error.message

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(_CANNOT), reason=_CANNOT or "can start"),
]


_PREFIX = "docktest-"


class Notes:
    """An inventory that only remembers."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], Mapping[str, str]] = {}

    def will_make(self, kind: str, name: str, **details: str) -> None:
        self.made[kind, name] = details

    def removed(self, kind: str, name: str) -> None:
        del self.made[kind, name]


def host_state() -> Mapping[str, object]:
    """Everything of the host that an engine could change, but for what other runs do now."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if _PREFIX in line and "python" not in line:
                lines.append(line)
    ours = {bridge.name_of(run_id) for run_id in ("module", "other", "killed")}
    interfaces = {path.name for path in Path("/sys/class/net").iterdir()}
    others = {name for name in interfaces if name.startswith(("tb-", "veth"))} - ours
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    rules = shutil.which("iptables-save")
    return {
        "interfaces": sorted(interfaces - others),
        "mounts": sorted(line for line in mounts if _PREFIX in line or "docker" in line),
        "processes": sorted(lines),
        "groups": sorted(map(str, Path("/sys/fs/cgroup").rglob("docktest*"))),
        "rules": subprocess.run([rules], capture_output=True).stdout.count(b"\n") if rules else 0,
        "forward": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "folders": [path for path in ("/etc/docker", "/run/docker", "/var/run/docker.sock")
                    if Path(path).exists()],
        "markers": [str(path) for path in Path("/run/containerd").glob(".tarebench-*")
                    if path.name.removeprefix(".tarebench-") in ours],
    }  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return tiny_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@contextlib.contextmanager
def short_context(cache: Path, run_id: str) -> Iterator[tuple[Context, Notes]]:
    """A run's context; Unix sockets need a path shorter than pytest's."""
    state = Path(tempfile.mkdtemp(prefix=_PREFIX))
    state.chmod(0o711)
    notes = Notes()
    try:
        yield Context(run_id, cache, state, f"docktest-{run_id}", notes), notes
    finally:
        Group(Layout.detect(), f"docktest-{run_id}").remove()  # the run's own, and its to remove
        shutil.rmtree(state)


@pytest.fixture(scope="module")
def engine(cache: Path, image: Image) -> Iterator[tuple[Context, Notes]]:
    """One private engine for the module, held by a runtime that is never launched."""
    become_subreaper()
    before = host_state()
    with pytest.MonkeyPatch.context() as patch, short_context(cache, "module") as (context, notes):
        patch.delenv("DOCKER_HOST", raising=False)
        holder = Docker("docker,network=none", {"network": "none"}, context)
        holder.prepare(image)
        if holder.shared_daemon:
            pytest.skip("an engine runs here already; the private one is what is tested")
        yield context, notes
        holder.close()
        assert not notes.made
    assert host_state() == before


_count = iter(range(1000))


@contextlib.contextmanager
def launched(
    runtime: Docker | Bare, image: Image, context: Context, limits: Limits | None = None
) -> Iterator[tuple[AgentBox, Marks]]:
    marks, number = Marks(), next(_count)
    directory, sockets = context.state / f"d{number}", context.state / f"s{number}"
    directory.mkdir()
    sockets.mkdir()
    sockets.chmod(0o755)
    name = f"docktest-{os.getpid()}-{number}"
    spec = InstanceSpec(name, "module", image, limits or Limits(), directory, sockets, 20.0)
    with runtime.launch(spec, marks) as box:
        yield box, marks


@pytest.fixture
def short(cache: Path) -> Iterator[tuple[Context, Notes]]:
    """A run's context in which nothing is started."""
    with short_context(cache, "nothing") as made:
        yield made


def docker(network: str, context: Context, image: Image) -> Docker:
    runtime = Docker(f"docker,network={network}", {"network": network}, context)
    runtime.prepare(image)
    return runtime


@pytest.mark.parametrize("network", ["host", "none", "bridge"])
def test_a_box_is_ready_runs_a_job_and_goes(
    engine: tuple[Context, Notes], image: Image, network: str
) -> None:
    context, notes = engine
    runtime = docker(network, context, image)
    with launched(runtime, image, context) as (box, marks):
        assert (KIND in {kind for kind, _ in notes.made}) is True
        done = box.run(Job(["/usr/bin/tool", "echo", "hello"]))
        assert (done.exit_status, done.stdout.read()) == (0, b"hello\n")
        program, shim = (Path(f"/proc/{pid}/cmdline").read_bytes() for pid in box.processes())
        assert b"/usr/lib/tarebench/agent" in program
        assert b"containerd-shim" in shim
        assert any(context.cgroup in str(path) for path in box.cgroups())
    known = marks.freeze()
    order = [known[name] for name in ("request", "created", "started", "exited", "removed")]
    assert order == sorted(order)
    assert known["created"] < known["ready"] < known["stop"]
    assert KIND not in {kind for kind, _ in notes.made}
    runtime.close()


def test_the_box_holds_the_same_files_as_bare_metal(
    engine: tuple[Context, Notes], image: Image
) -> None:
    context, _ = engine
    runtime = docker("none", context, image)
    with launched(runtime, image, context) as (box, _marks):
        inside = box.derive_manifest()
    runtime.close()
    with launched(Bare("bare", {}, context), image, context) as (box, _marks):
        assert box.derive_manifest() == inside
    assert inside.count(b"\n") > 5


def test_the_command_asks_for_the_same_container_as_the_api(
    engine: tuple[Context, Notes], image: Image
) -> None:
    context, _ = engine
    limits = Limits(cpus=0.5, memory_bytes=256 * MIB, pids=20)
    seen: list[Mapping[str, object]] = []
    for client in ("api", "cli"):
        chosen = {"client": client, "network": "none"}
        runtime = Docker(f"docker,client={client},network=none", chosen, context)
        if client == "cli":
            assert runtime.probe().versions["docker-cli"][0].isdigit()
        runtime.prepare(image)
        with launched(runtime, image, context, limits) as (_box, marks):
            api = connect(f"unix://{context.state / 'docker' / 'docker.sock'}")
            (found,) = api.containers(all=True)
            seen.append(api.inspect_container(found["Id"]))
            api.close()
        known = marks.freeze()
        assert known["request"] < known["started"]
        assert ("created" in known) == (client == "api")
        runtime.close()
    assert wanted(seen[0]) == wanted(seen[1])


def wanted(container: Mapping[str, Any]) -> Mapping[str, object]:
    """What was asked of the engine: what names one container, or is a default, left out."""
    keys = ("Hostname", "User", "WorkingDir", "Image")
    config, host = container["Config"], container["HostConfig"]
    named = ("Binds", "CgroupParent")
    ours = {key: value for key, value in host.items() if value and key not in named}
    for never_asked in ("ConsoleSize", "ShmSize", "LogConfig", "RestartPolicy"):
        ours.pop(never_asked, None)  # "" and "no" are one policy
    program = [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]
    told = {key: config[key] for key in keys}
    return {**told, "program": program, "host": ours, "log": host["LogConfig"]["Type"]}


def test_the_command_s_own_words_are_the_reason_of_a_failure(
    engine: tuple[Context, Notes], image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, notes = engine
    chosen = {"client": "cli", "network": "none"}
    runtime = Docker("docker,client=cli,network=none", chosen, context)
    runtime.prepare(image)
    monkeypatch.setattr(runtime, "_image_id", "sha256:" + "0" * 64)
    with (
        pytest.raises(LaunchFailed, match=r"docker run: exit status 125: .*(No such|find) image"),
        launched(runtime, image, context),
    ):
        pass
    assert KIND not in {kind for kind, _ in notes.made}
    runtime.close()


def test_without_the_command_there_is_a_remedy(
    short: tuple[Context, Notes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimes.docker_cli.find_program", lambda name: None)
    runtime = Docker("docker,client=cli", {"client": "cli"}, short[0])
    with pytest.raises(RuntimeUnavailable, match="docker command is not installed") as caught:
        runtime.probe()
    assert "apt-get install" in caught.value.hint


def test_limits_hold(engine: tuple[Context, Notes], image: Image) -> None:
    context, _ = engine
    limits = Limits(cpus=0.5, memory_bytes=256 * MIB, pids=20)
    runtime = docker("none", context, image)
    with launched(runtime, image, context, limits) as (box, _marks):
        fits = box.run(Job(["/usr/bin/tool", "hog", "100"]))
        assert fits.stdout.read() == b"held\n"
        assert box.run(Job(["/usr/bin/tool", "hog", "400"])).signal == signal.SIGKILL
        forks = box.run(Job(["/usr/bin/tool", "forks", "100"]))
        assert 0 < int(forks.stdout.read()) < 20
    runtime.close()


def test_an_engine_that_is_there_is_used_and_left_alone(
    engine: tuple[Context, Notes], image: Image, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = engine
    monkeypatch.setenv("DOCKER_HOST", f"unix://{context.state / 'docker' / 'docker.sock'}")
    with short_context(cache, "other") as (other, notes):
        runtime = docker("none", other, image)
        assert runtime.shared_daemon
        assert "shared engine" in runtime.probe().notes
        assert runtime.probe().versions["docker"]
        with launched(runtime, image, other) as (box, _marks):
            assert box.run(Job(["/usr/bin/tool", "echo", "x"])).exit_status == 0
        runtime.close()
        assert not notes.made
    assert (context.state / "docker" / "docker.sock").exists()


def test_a_box_that_dies_says_why(
    engine: tuple[Context, Notes], image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, notes = engine
    runtime = docker("none", context, image)
    monkeypatch.setattr("runtimes.engine.AGENT_PATH", "/usr/bin/tool")
    with (
        pytest.raises(LaunchFailed, match="ended before it was ready: status exited, exit code 2"),
        launched(runtime, image, context),
    ):
        pass
    assert KIND not in {kind for kind, _ in notes.made}
    runtime.close()


def test_an_engine_that_hangs_costs_a_trial_and_not_the_run(
    engine: tuple[Context, Notes], image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, notes = engine
    monkeypatch.setattr("runtimes.engine.connect", partial(connect, timeout_s=1.0))
    runtime = docker("none", context, image)
    daemons = [
        pid
        for pid in runtime.daemon_processes()
        if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    ]
    for pid in daemons:
        os.kill(pid, signal.SIGSTOP)
    try:
        with (
            pytest.raises(DeadlineExceeded, match="no answer in time"),
            launched(runtime, image, context),
        ):
            pass
    finally:
        for pid in daemons:
            os.kill(pid, signal.SIGCONT)
    assert daemons
    left = [(kind, name) for kind, name in notes.made if kind == KIND]
    for kind, name in left:  # what could not be removed then stays in the inventory
        containers.remove(name, notes.made[kind, name])
        notes.removed(kind, name)
    runtime.close()


def test_the_engine_s_own_words_reach_the_user(engine: tuple[Context, Notes], image: Image) -> None:
    context, notes = engine
    runtime = docker("none", context, image)
    with (
        pytest.raises(LaunchFailed, match=r"(?i)cpus"),
        launched(runtime, image, context, Limits(cpus=4096)),
    ):
        pass
    runtime.close()
    assert KIND not in {kind for kind, _ in notes.made}


@pytest.mark.parametrize("host", ["tcp://192.0.2.1:2375", "ssh://someone@example.org"])
def test_a_remote_engine_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    context = Context("r", tmp_path, tmp_path, "docktest-r", Notes())
    with pytest.raises(RuntimeUnavailable, match="remote"):
        Docker("docker", {}, context).probe()


def test_an_unknown_network_is_a_usage_error(tmp_path: Path) -> None:
    context = Context("r", tmp_path, tmp_path, "docktest-r", Notes())
    with pytest.raises(UsageError, match="network"):
        Docker("docker,network=slow", {"network": "slow"}, context)
    with pytest.raises(UsageError, match="speed"):
        Docker("docker,speed=1", {"speed": "1"}, context)


def test_a_changed_image_takes_the_place_of_the_old_one(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    changed = replace(image, digest="sha256:" + "0" * 64)
    with short_context(tmp_path, "other") as (context, _notes):
        runtime = Docker("docker", {}, context)
        runtime.prepare(changed)
        for _ in range(2):
            runtime.prepare(image)
            with launched(runtime, image, context) as (box, _marks):
                assert box.run(Job(["/usr/bin/tool", "echo", "x"])).exit_status == 0
        api = connect(f"unix://{context.state / 'docker' / 'docker.sock'}")
        tags = [tag for known in api.images("tarebench") for tag in known["RepoTags"]]
        api.close()
        runtime.close()
    assert tags == [f"tarebench:{image.digest.removeprefix('sha256:')[:16]}"]


def test_a_container_of_an_engine_that_is_away_is_not_forgotten() -> None:
    away = {"host": "unix:///nowhere/docker.sock", "run": "r"}
    assert containers.exists("box", away | {"private": "no"})
    with pytest.raises(RuntimeUnavailable):
        containers.remove("box", away | {"private": "no"})
    assert not containers.exists("box", away | {"private": "yes"})
    containers.remove("box", away | {"private": "yes"})


_DIES = """
import json, os, signal, sys
from pathlib import Path
from harness.clock import Marks
from harness.model import Context, Image, InstanceSpec, Limits
from runtimes.docker import Docker

class Lines:
    def will_make(self, kind, name, **details):
        print(json.dumps([kind, name, details]), flush=True)
    def removed(self, kind, name):
        pass

state, cache, image, digest = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
context = Context("killed", cache, state, "docktest-killed", Lines())
image = Image(digest, image, "", ())
runtime = Docker("docker", {}, context)
runtime.prepare(image)
for name in ("d", "s"):
    (state / name).mkdir()
spec = InstanceSpec("docktest-killed", "killed", image, Limits(), state / "d", state / "s")
with runtime.launch(spec, Marks()):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_harness_leaves_nothing_that_clean_does_not_find(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    become_subreaper()
    before = host_state()
    with short_context(tmp_path, "killed") as (context, _notes):
        argv = [sys.executable, "-c", _DIES, str(context.state), str(tmp_path)]
        argv += [str(image.directory), image.digest]
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
        assert done.returncode == -signal.SIGKILL
        made = [json.loads(line) for line in done.stdout.splitlines()]
        assert {kind for kind, _, _ in made} == {ENGINE, KIND}
        for kind, name, details in reversed(made):
            cleaner = engines if kind == ENGINE else containers
            assert cleaner.exists(name, details)
            cleaner.remove(name, details)
            assert not cleaner.exists(name, details)
            cleaner.remove(name, details)
    assert host_state() == before
