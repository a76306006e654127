"""The report: it opens with the answer, needs nothing else, and cannot be talked into more."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.analysis.frames import load_all, load_run
from harness.analysis.storing import main
from harness.errors import UsageError
from harness.model import Outcome
from harness.report import build, build_folder, markdown
from harness.report.view import view
from tests.synthetic import QUICK, Plan, make_run

HOSTILE = """<script>alert("x")</script><img src=https://evil.example/x.png onerror=y> | `z` ]]>"""
FAIL = {33: (Outcome.FAILED, HOSTILE), 34: (Outcome.TIMEOUT, "READY did not arrive within 60 s")}

LOADS = {
    "src",
    "srcset",
    "href",
    "data",
    "poster",
    "action",
    "formaction",
    "background",
    "xlink:href",
}
VOID = {"meta", "img", "source", "br", "link", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Collects elements with their attributes, and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "hostile", Plan(fail=FAIL))
    build_folder(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_it_opens_with_the_answer(page: Page) -> None:
    answer = page.words.index("crun is ready in")
    assert answer < page.words.index("How long until a box is ready?")
    assert "What a virtual machine costs is not decided on this host." in page.words


def test_nothing_is_loaded_from_anywhere(page: Page, folder: Path) -> None:
    for tag, attributes in page.elements:
        for name in LOADS & set(attributes):
            assert attributes[name].startswith(("data:", "#")), (tag, name, attributes[name][:60])
    style = re.search(r"<style>(.*?)</style>", (folder / "report.html").read_text(), re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")
    assert "unsafe" not in policies[0]


def test_the_one_script_and_the_one_style_are_those_of_the_policy(page: Page, folder: Path) -> None:
    text = (folder / "report.html").read_text()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    for tag in ("script", "style"):
        parts = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S)
        assert len(parts) == len(page.all(tag)) == 1
        digest = base64.b64encode(hashlib.sha256(parts[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_there_is_no_handler(page: Page) -> None:
    assert not any("style" in attributes for _, attributes in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_hostile_text_is_shown_and_not_run(page: Page) -> None:
    assert 'alert("x")' in page.words
    values = (value for _, attributes in page.elements for value in attributes.values())
    assert not any("evil.example" in value for value in values if value[:5] != "data:")


def test_every_image_says_what_it_shows(page: Page) -> None:
    images = page.all("img")
    assert len(images) >= 6
    assert all(len(image["alt"]) > 40 for image in images)
    assert page.all("svg") == []
    assert any("emulated in software: qemu" in image["alt"] for image in images)


def test_each_chart_has_its_numbers_beside_it(page: Page, folder: Path) -> None:
    links = {a["download"]: a["href"] for a in page.all("a") if a.get("class") == "csv"}
    assert len(links) == len(page.all("img"))
    kind, _, text = links["startup.csv"].partition(",")
    assert kind == "data:text/csv;charset=utf-8"
    rows = list(csv.DictReader(StringIO(unquote(text))))
    told = [float(r["value"]) for r in rows if (r["runtime"], r["what"]) == ("crun", "trial")]
    assert told == pytest.approx(list(load_run(folder).values("startup.ready", "crun")))
    assert {r["class"] for r in rows if r["runtime"] == "qemu"} == {"emulated in software (TCG)"}


def test_headings_and_tables_are_accessible(page: Page) -> None:
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in cell for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def test_the_audit_names_what_must_be_named(page: Page) -> None:
    for words in (
        "READY did not arrive within 60 s", "sha256:ab12", "22 identical, 0 not",
        "a guest did not boot under KVM within 20 s", "use a host with hardware virtualization",
        "Limits not enforced", "tarebench run quick --seed 1", "Synthetic CPU", "Round trips",
        "The harness's floor", "instrumented boots were ready", "fixed 10 blocks",
    ):  # fmt: skip
        assert words in page.words, words


def test_no_sentence_compares_a_container_with_an_emulated_machine(page: Page) -> None:
    for sentence in re.split(r"(?<=[.;])\s", page.words):
        if "times as long" in sentence or "An idle instance holds" in sentence:
            assert "qemu" not in sentence
    own = re.findall(r"(?<![-\w])qemu(?!-)( \(emulated\))?", page.words)
    names = [row for row in own if not row]
    assert "qemu (emulated)" in page.words
    assert len(names) < 12


def test_the_page_is_the_run(folder: Path) -> None:
    run, again = load_run(folder), load_run(folder / "report.html")
    assert again.samples.equals(run.samples)
    assert again.trials.equals(run.trials)
    assert again.manifest == run.manifest


def test_a_page_of_two_runs_is_refused_as_one(tmp_path: Path) -> None:
    plan = Plan(runtimes=("bare", "crun"), blocks=2, memory=False)
    run = load_run(make_run(tmp_path / "run", plan))
    build([run, run], tmp_path / "two.html")
    Page((tmp_path / "two.html").read_text())
    with pytest.raises(UsageError, match="2 runs"):
        load_run(tmp_path / "two.html")
    both = load_all(tmp_path / "two.html")
    assert [each.run for each in both] == [run.run, run.run]
    assert both[1].samples.equals(run.samples)


def test_charts_are_saved_as_svg_and_png(folder: Path) -> None:
    for name in ("startup", "phases", "teardown", "memory", "cpu", "ecdf"):
        svg = (folder / "charts" / f"{name}.svg").read_bytes()
        assert b"<svg" in svg
        assert b"<dc:date>" not in svg
        assert (folder / "charts" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "charts" / f"{name}.csv").read_text().count("\n") > 5
    assert (folder / "samples.parquet").is_file()
    assert not [p for p in folder.rglob("*.partial")]


def test_the_same_run_gives_the_same_page(folder: Path, tmp_path: Path) -> None:
    build([load_run(folder)], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.parametrize(
    "plan",
    [
        Plan(stop_after=0),
        Plan(stop_after=30),
        Plan(blocks=1),
        Plan(runtimes=("bare",), memory=False),
        Plan(blocks=2, fail={n: (Outcome.FAILED, "no") for n in range(100)}),
        Plan(runtimes=(*QUICK, "kvm"), blocks=5),
    ],
    ids=["nothing ran", "cut off", "one block", "bare alone", "all failed", "kvm"],
)
def test_awkward_runs_have_a_report_too(plan: Plan, tmp_path: Path) -> None:
    build([load_run(make_run(tmp_path / "run", plan))], tmp_path / "report.html")
    words = Page((tmp_path / "report.html").read_text()).words
    assert "What does the box cost?" in words
    assert "nan" not in re.findall(r"[a-z]+", words)
    if plan.stop_after is not None:
        assert "This run was cut off" in words


def test_optional_parts_of_a_manifest_may_be_missing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare", "runc"), blocks=2))
    run = load_run(folder)
    kept = {key: run.manifest[key] for key in ("schema", "run", "plan", "scenario")}
    bare = type(run)(run.run, kept, run.trials, run.samples)
    build([bare], tmp_path / "r.html")
    build([bare], tmp_path / "r.md", tmp_path / "charts", "md")
    linked = re.findall(r"\]\((charts/[^)]*)\)", (tmp_path / "r.md").read_text())
    assert linked
    assert all((tmp_path / link).is_file() for link in linked)


def test_markdown_shows_hostile_text_harmlessly(folder: Path) -> None:
    text = markdown.render([view(load_run(folder))], ["charts"])
    assert "**crun is ready in" in text
    assert "![Time from request to READY" in text
    assert "](charts/startup.svg)" in text
    assert "<script>" not in text
    line = next(line for line in text.splitlines() if "alert" in line)
    headings = text.splitlines()[text.splitlines().index(line) - 2]
    assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", headings))


def test_unknown_format_and_no_run_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        build([load_run(folder)], tmp_path / "r.pdf", format="pdf")
    with pytest.raises(UsageError):
        build([], tmp_path / "r.html")


@pytest.mark.parametrize("module", ["harness.report", "harness.analysis.storing"])
def test_a_module_writes_into_a_folder_as_a_run_s_end_does(tmp_path: Path, module: str) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=2))
    argv = [sys.executable, "-m", module, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "samples.parquet").is_file()
    assert (folder / "report.html").is_file() == (module == "harness.report")


def test_storing_data_loads_nothing_that_draws_or_judges() -> None:
    code = (
        "import sys, harness.analysis.storing; "
        "print({'matplotlib', 'scipy', 'jinja2', 'harness.report'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_what_is_no_run_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)], build_folder) == 2
    said = capsys.readouterr()
    assert "is not a run" in said.err
    assert said.out == ""
    assert main([]) == 2
