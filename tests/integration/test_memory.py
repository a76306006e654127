"""The memory experiment against boxes of known appetite: what they write is what is counted."""

from __future__ import annotations

import pytest

from harness.errors import ChannelError
from harness.experiments import memory
from harness.experiments.bench import Measurement
from harness.experiments.pagecache import chosen_files
from harness.model import MIB, Limits
from harness.settings import Memory
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

TOUCHED_BYTES = 256 * MIB
TRIES = 12
"""The host's side counts in a quiet moment only, and such a moment is waited for so often."""


def values(found: Measurement, metric: str, **dimensions: str) -> list[float]:
    return [
        sample.value
        for sample in found.samples
        if sample.metric == metric and sample.dimensions.items() >= dimensions.items()
    ]


def value(found: Measurement, metric: str, **dimensions: str) -> float:
    (only,) = values(found, metric, **dimensions)
    return only


def test_256_mib_of_bare_metal_are_accounted_within_two_percent(lab: Lab) -> None:
    runtime_or_skip(lab, "bare,cgroup=on")
    bench = lab.bench("bare,cgroup=on")
    settings = Memory(
        instances=2, states=["idle", "touched", "freed"], touched=TOUCHED_BYTES // 2, settle_s=0.0
    )
    noise: list[float] = []
    for _ in range(TRIES):
        found = memory.measure(bench, settings)
        assert found.conditions["touched_bytes"] == TOUCHED_BYTES // 2
        taken = 2 * value(found, "memory.taken", side="charged")
        assert taken == pytest.approx(TOUCHED_BYTES, rel=0.02)
        returned = 2 * value(found, "memory.returned", side="charged", by="free")
        assert returned == pytest.approx(TOUCHED_BYTES, rel=0.02)
        held = 2 * value(found, "memory.charged", state="touched")
        assert TOUCHED_BYTES < held < 1.02 * TOUCHED_BYTES
        variation = found.conditions["idle_variation_bytes"]
        assert isinstance(variation, float)
        noise.append(variation)
        if variation < 0.01 * TOUCHED_BYTES:
            for metric, more in (("taken", {}), ("returned", {"by": "free"})):
                told = 2 * value(found, f"memory.{metric}", side="host", **more)
                assert told == pytest.approx(TOUCHED_BYTES, rel=0.02)
            rest = value(found, "memory.remainder", state="touched")
            assert abs(2 * rest) < 0.02 * TOUCHED_BYTES
            return
        if variation > TOUCHED_BYTES / 10:
            assert values(found, "memory.taken", side="host") == []
    pytest.skip(f"the host never kept still: it moved by at least {min(noise) / MIB:.1f} MiB")


def test_what_containers_share_is_charged_to_the_first(lab: Lab) -> None:
    runtime_or_skip(lab, "crun")
    found = memory.measure(lab.bench("crun"), Memory(instances=3, states=["idle", "cache"]))
    _, read = chosen_files(lab.image, 32 * MIB)
    assert value(found, "memory.cache.first", read=str(read)) == pytest.approx(read, rel=0.05)
    assert value(found, "memory.cache.next") < 0.05 * read
    assert found.identity.identical
    assert {sample.dimensions["state"] for sample in found.samples} == {"idle", "cache"}


def test_a_guest_shares_nothing_and_returns_what_its_balloon_takes(lab: Lab) -> None:
    runtime_or_skip(lab, "qemu,balloon=on,machine=microvm")
    found = memory.measure(
        lab.bench("qemu,balloon=on,machine=microvm", Limits(memory_bytes=192 * MIB)),
        Memory(
            machine_instances=2, states=["idle", "touched", "freed", "ballooned", "cache"],
            touched=64 * MIB, read=16 * MIB, settle_s=0.0,
        ),
    )  # fmt: skip
    before = value(found, "memory.guest_ram", state="idle")
    assert value(found, "memory.guest_ram", state="freed") > before + 32 * MIB
    assert value(found, "memory.returned", by="free", side="charged") < 8 * MIB
    assert value(found, "memory.returned", by="balloon", side="charged") > 56 * MIB
    assert value(found, "memory.cache.next") > 8 * MIB


def test_more_than_a_box_may_hold_fails_the_trial_and_ends_all(lab: Lab) -> None:
    runtime_or_skip(lab, "crun")
    settings = Memory(instances=2, states=["idle", "touched"], touched="96 MiB")
    before = {(entry.kind, entry.name) for entry in lab.inventory_entries()}
    with pytest.raises(ChannelError, match="could not touch 100663296 bytes"):
        memory.measure(lab.bench("crun", Limits(memory_bytes=64 * MIB)), settings)
    assert {(entry.kind, entry.name) for entry in lab.inventory_entries()} == before
