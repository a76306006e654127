"""What tarebench promises of its own speed, each promise with its peer beside it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.clock import Marks, now_ns
from harness.errors import HarnessError
from harness.image.forms import overlay_disk
from harness.model import AGENT_PATH, MIB, InstanceSpec, Limits, Runtime
from harness.process import spawn
from runtimes import oci
from runtimes.box import SOCKET, listen
from runtimes.mounts import PrivateMounts, fresh_layer
from tests.benchmarks.pairs import measure, median_low
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
TAREBENCH = Path(sys.executable).with_name("tarebench")
BOOTS = 50
HYPERFINE_RUNS = 5


def span(lab: Lab, name: str, end: str, limits: Limits | None = None) -> float:
    """Seconds from the request to a mark of one instance that is asked to end at once."""
    marks = Marks()
    with lab.instance(name, limits, marks):
        pass
    frozen = marks.freeze()
    held = frozen["stop"] - frozen["ready"] if end != "ready" else 0
    return (frozen[end] - frozen["request"] - held) / 1e9


def pause_between_launches_s(lab: Lab, name: str) -> float:
    """Median time from one instance's end to the next request, as `span` makes them."""
    frozen = []
    for _ in range(HYPERFINE_RUNS + 1):
        marks = Marks()
        with lab.instance(name, None, marks):
            pass
        frozen.append(marks.freeze())
    pauses = [after["request"] - one["exited"] for one, after in pairwise(frozen)]
    return float(np.median(pauses)) / 1e9


@contextmanager
def closing_listener(path: Path) -> Iterator[None]:
    """Accepts agents, reads their READY and hangs up, so that they end at once."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(16)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.recv(64)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()
        path.unlink(missing_ok=True)


def hyperfine(command: str, folder: Path, pause_s: float = 0.0) -> float:
    """The median that hyperfine measures without a shell, in seconds.

    With `pause_s` it sleeps that long before each run, which it does not measure.
    """
    if shutil.which("hyperfine") is None:
        pytest.skip("hyperfine is not installed")
    out = folder / "hyperfine.json"
    pause = ["--prepare", f"sleep {pause_s:.4f}"] if pause_s else []
    done = subprocess.run(
        ["hyperfine", "-N", "--style", "none", "--runs", str(HYPERFINE_RUNS), "--warmup", "1",
         "--export-json", str(out), *pause, command],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return float(json.loads(out.read_text())["results"][0]["median"])


def median_of(function: Callable[[], float], times: int = HYPERFINE_RUNS) -> float:
    """The median of as many runs as hyperfine makes, after one that is dropped."""
    values = sorted(function() for _ in range(times + 1))
    return values[(times + 1) // 2]


def test_bare_against_hyperfine(benchmark: BenchmarkFixture, lab: Lab, tmp_path: Path) -> None:
    """`request→exited` without limits: at most 0.3 ms more than hyperfine of the same agent."""
    agent = lab.image.root / AGENT_PATH.lstrip("/")
    path = lab.place.state / "peer"
    lab.runtime("bare")
    with closing_listener(path):
        pairs = measure(
            benchmark,
            lambda: median_of(lambda: span(lab, "bare", "exited")),
            lambda: hyperfine(f"{agent} unix:{path}", tmp_path),
            rounds=20,
        )
    assert pairs.difference_low() <= 0.0003


def test_runc_against_hyperfine(benchmark: BenchmarkFixture, lab: Lab, tmp_path: Path) -> None:
    """`request→exited`: at most 1.03 × hyperfine of `runc run` on the same bundle, run after
    pauses as long as those between our launches.

    The pause is part of what is measured: docs/grace-period.md. Without it a run profits from
    the one before; that ratio stands in the benchmark's `back_to_back_ratio`.
    """
    runtime_or_skip(lab, "runc")
    folder, sockets = tmp_path / "bundle", lab.place.state / "peer-runc"
    folder.mkdir()
    sockets.mkdir()
    spec = InstanceSpec("tb-peer", lab.place.run_id, lab.image, Limits(), folder, sockets)
    with ExitStack() as stack:
        mounts = stack.enter_context(PrivateMounts())
        config = oci.bundle_config(
            spec, fresh_layer(mounts, spec), f"/{lab.context.cgroup}/tb-peer"
        )
        (folder / "config.json").write_text(json.dumps(config))
        stack.enter_context(closing_listener(sockets / SOCKET))
        stack.callback(shutil.rmtree, sockets)
        command = f"runc --root {lab.place.state}/peer-state run --bundle {folder} tb-peer"
        pause_s = pause_between_launches_s(lab, "runc")
        pairs = measure(
            benchmark,
            lambda: median_of(lambda: span(lab, "runc", "exited")),
            lambda: mounts.call(hyperfine, command, tmp_path, pause_s),
            rounds=12,
        )
        close = float(np.median([mounts.call(hyperfine, command, tmp_path) for _ in range(5)]))
        benchmark.extra_info["pause_s"] = pause_s
        benchmark.extra_info["back_to_back_ratio"] = float(np.median(pairs.ours)) / close
    assert pairs.ratio_low() <= 1.03


def test_docker_against_the_same_calls_by_hand(benchmark: BenchmarkFixture, lab: Lab) -> None:
    """`request→ready`, host network: at most 1.05 × the same two calls over the socket."""
    from tests.benchmarks.by_hand import EngineByHand

    runtime = runtime_or_skip(lab, "docker,network=host")
    with EngineByHand(runtime, lab) as engine:
        pairs = measure(
            benchmark,
            lambda: span(lab, "docker,network=host", "ready"),
            engine.request_to_ready_s,
            rounds=25,
        )
    assert pairs.ratio_low() <= 1.05


def test_microvm_against_bare_qemu(benchmark: BenchmarkFixture, lab: Lab) -> None:
    """`request→ready`: at most 0.6 s more than a bare qemu-system of the same machine."""
    runtime = runtime_or_skip(lab, "qemu,machine=microvm")
    limits = Limits(cpus=1, memory_bytes=128 * MIB)
    pairs = measure(
        benchmark,
        lambda: span(lab, "qemu,machine=microvm", "ready", limits),
        lambda: bare_qemu(lab, runtime),
        rounds=10,
    )
    assert pairs.difference_low() <= 0.6


def bare_qemu(lab: Lab, runtime: Runtime) -> float:
    """Seconds from the spawn of qemu-system to READY of the same guest."""
    from runtimes.domain_xml import command_line
    from runtimes.libvirt_domain import LibvirtDomain

    assert isinstance(runtime, LibvirtDomain)
    files = runtime._files[lab.image.digest]
    append = command_line(mitigations=runtime._mitigations, clock=runtime._clock)
    folder = lab.place.scratch / "peer-qemu"
    sockets = lab.place.state / "peer-qemu"
    folder.mkdir()
    sockets.mkdir()
    spec = InstanceSpec("tb-peer", lab.place.run_id, lab.image, Limits(), folder, sockets)
    overlay = folder / "disk.qcow2"
    overlay_disk(files.disk, overlay)
    argv = [
        str(shutil.which("qemu-system-x86_64")), "-machine", "microvm", "-accel", "tcg",
        "-cpu", "max", "-m", "128", "-nodefaults", "-no-user-config", "-display", "none",
        "-no-reboot", "-kernel", str(files.kernel.boot_file), "-initrd", str(files.initramfs),
        "-append", append,
        "-drive", f"file={overlay},if=none,id=d,cache=none,aio=native,format=qcow2",
        "-device", "virtio-blk-device,drive=d", "-device", "virtio-serial-device",
        "-chardev", f"socket,id=c,path={sockets / SOCKET}",
        "-device", "virtserialport,chardev=c,name=org.tarebench.channel",
    ]  # fmt: skip
    try:
        with listen(spec) as listener:
            begin = now_ns()
            with spawn(argv) as process:
                return (listener.wait_ready(60, process.is_running) - begin) / 1e9
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(sockets)


def test_no_microvm_boot_hangs(benchmark: BenchmarkFixture, lab: Lab) -> None:
    """Fifty boots in a row reach READY."""
    runtime_or_skip(lab, "qemu,machine=microvm")
    failures: list[str] = []

    def boot() -> None:
        try:
            span(lab, "qemu,machine=microvm", "ready")
        except HarnessError as error:
            failures.append(error.message)

    benchmark.pedantic(boot, rounds=BOOTS)
    assert failures == []


def test_waiting_costs_no_cpu(benchmark: BenchmarkFixture, lab: Lab) -> None:
    """While an instance boots, the harness uses under 2 % of a core: nothing polls."""
    runtime_or_skip(lab, "qemu")
    shares: list[float] = []

    def boot() -> None:
        begin: list[float] = []
        marks = Marks(before_request=lambda: begin.append(process_time()))
        with lab.instance("qemu", Limits(), marks):
            used_s = process_time() - begin[0]
            frozen = marks.freeze()
            shares.append(used_s / ((frozen["ready"] - frozen["request"]) / 1e9))

    benchmark.pedantic(boot, rounds=10)
    benchmark.extra_info["shares"] = shares
    assert median_low(shares) < 0.02


def test_the_observer_is_small(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The process that runs trials stays below 100 MiB, whatever it runs."""
    out = tmp_path / "run"
    command = [str(TAREBENCH), "run", "quick", "--repeat", "2", "--quiet", "--out", str(out)]
    done = benchmark.pedantic(lambda: subprocess.run(command, check=False), rounds=1)
    assert done.returncode == 0
    peak = json.loads((out / "manifest.json").read_text())["observer"]["peak_rss_bytes"]
    benchmark.extra_info["peak_rss_mib"] = peak / MIB
    assert peak <= 100 * MIB


def test_help_is_quick(benchmark: BenchmarkFixture) -> None:
    """`tarebench --help` takes at most ten times as long as `python -c pass`."""

    def seconds(*argv: str) -> float:
        begin = now_ns()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        return (now_ns() - begin) / 1e9

    pairs = measure(
        benchmark,
        lambda: seconds(str(TAREBENCH), "--help"),
        lambda: seconds(sys.executable, "-c", "pass"),
        rounds=20,
    )
    assert pairs.ratio_low() <= 10


def test_second_make_run_begins_soon(benchmark: BenchmarkFixture) -> None:
    """Set up once, `make run` reaches its first trial within five seconds."""
    environment = {**os.environ, "YES": "1", "RUN_ARGS": "--repeat 1"}
    begun: list[float] = []

    def first_trial_s() -> None:
        begin = now_ns()
        with subprocess.Popen(
            ["make", "run"], cwd=REPOSITORY, env=environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(("warm-up block", "block")):
                    begun.append((now_ns() - begin) / 1e9)
                    break
            process.stderr.read()

    benchmark.pedantic(first_trial_s, rounds=3)
    benchmark.extra_info["first_trial_s"] = begun
    assert min(begun) <= 5.0
