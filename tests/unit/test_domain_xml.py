"""The domain XML and the guest's command line: golden files, libvirt's schema, hostile names."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import UsageError
from runtimes.domain_xml import command_line, domain_xml
from runtimes.guest_kernel_options import host_mitigations, measure_clock
from runtimes.libvirt_connection import check_uri
from tests.domains import CLOCK, DOMAINS, MACHINES, MICROVM, Q35

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


LAST_WORDS = {
    "balloon": " balloon",
    "instrumented": " sign:0x402",
    "scsi": " scsi root:/dev/sda",
    "disk": " root:/dev/vda3",
    "own": " within:/dev/vda",
    "uefi": " scsi root:/dev/sda3",
}


@pytest.mark.parametrize("name", DOMAINS)
def test_the_xml_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"domain-{name}.xml"
    made = DOMAINS[name]()
    if os.environ.get("TAREBENCH_WRITE_GOLDEN"):
        golden.write_text(made)
    assert made == golden.read_text()


@pytest.mark.parametrize("name", DOMAINS)
def test_the_xml_is_valid_by_libvirts_schema(name: str) -> None:
    if shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None:
        pytest.skip("virt-xml-validate or xmllint is not installed")
    done = subprocess.run(
        ["virt-xml-validate", GOLDEN / f"domain-{name}.xml", "domain"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_hostile_names_stay_text() -> None:
    hostile = "a</name><devices>&\"'<!--"
    made = ElementTree.fromstring(
        domain_xml(replace(Q35, name=hostile, disk=Path("/a'b\"<c>&.qcow2")))
    )
    assert made.findtext("name") == hostile
    source = made.find("devices/disk/source")
    assert source is not None
    assert source.get("file") == "/a'b\"<c>&.qcow2"
    assert len(made.findall("devices")) == 1


def test_only_a_microvm_has_mmio_addresses() -> None:
    more = (replace(MICROVM, balloon="on"), 3), (replace(MICROVM, bus="scsi"), 2)
    for domain, count in ((Q35, 0), (MICROVM, 2), *more):
        found = ElementTree.fromstring(domain_xml(domain)).findall(".//address")
        assert [address.get("type") for address in found] == ["virtio-mmio"] * count


def test_the_command_line_ends_with_the_agents_channel() -> None:
    for name, line in ((name, domain.command_line) for name, domain in MACHINES.items()):
        last = LAST_WORDS.get(name.rpartition("-")[2], "")
        assert line.endswith(f" -- virtio:org.tarebench.channel{last}")
        assert {"panic=-1", "reboot=t", "mitigations=auto"} <= set(line.split())


def test_the_clock_is_told_in_the_kernels_units() -> None:
    words = command_line(mitigations="off", clock=CLOCK).split()
    assert {"quiet", "tsc_early_khz=2600000", "lpj=10400000", "mitigations=off"} <= set(words)


def test_an_instrumented_kernel_speaks_early() -> None:
    words = command_line(mitigations="auto", instrumented=True).split()
    assert "quiet" not in words
    assert "earlyprintk=ttyS0" in words


@pytest.mark.parametrize(
    ("said", "states", "expected"),
    [
        ("quiet mitigations=off", ["Mitigation: PTI"], "off"),
        ("mitigations=auto,nosmt", ["Vulnerable"], "auto"),
        ("mitigations=auto mitigations=off", ["Mitigation: PTI"], "off"),
        ("quiet", ["Vulnerable", "Vulnerable: no microcode", "Not affected"], "off"),
        ("quiet", ["Vulnerable", "Mitigation: PTI"], "auto"),
        ("quiet", ["Not affected"], "auto"),
    ],
)
def test_guests_take_the_hosts_mitigations(
    tmp_path: Path, said: str, states: list[str], expected: str
) -> None:
    line = tmp_path / "cmdline"
    line.write_text(said + "\n")
    folder = tmp_path / "vulnerabilities"
    folder.mkdir()
    for number, state in enumerate(states):
        (folder / str(number)).write_text(state + "\n")
    assert host_mitigations(line, folder) == expected


def test_the_counters_rate_is_repeatable() -> None:
    first, second = measure_clock(), measure_clock()
    if first is None or second is None:
        pytest.skip("the counter cannot be read here")
    assert second.tsc_khz == pytest.approx(first.tsc_khz, rel=0.01)


@pytest.mark.parametrize(
    "uri",
    [
        "embed", "qemu:///system", "qemu:///session?socket=/a%2Cb=c", "qemu+unix:///system",
        "qemu+ssh://me@far:2222/system?keyfile=/k",
    ],
)  # fmt: skip
def test_uris_of_this_host_and_of_others_by_ssh_are_taken_as_they_are(uri: str) -> None:
    assert check_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    ["", "system", "qemu+tcp://far/system", "qemu://far/system", "qemu:///a b", "qemu:///embed"],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        check_uri(uri)
