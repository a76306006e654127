"""Charts that stand alone: two styles, three formats, and what each must say for itself."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from matplotlib.text import Text
from PIL import Image

from harness.analysis.frames import RunData, load_run
from harness.analysis.summary import summarise
from harness.report import build
from harness.report.audit import conditions_of
from harness.report.charts import Chart, draw_charts
from harness.report.sheet import PUBLICATION, SLIDES, STYLES, alone, wrapped
from harness.report.style import settings
from tests.synthetic import Plan, make_run

MANY = ("bare", "chroot", "runc", "crun", "docker", "docker,network=none", "docker,client=cli",
        "docker,client=cli,network=none", "qemu")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "many", Plan(runtimes=MANY)))


@pytest.fixture(scope="module")
def charts(run: RunData) -> dict[str, Chart]:
    return draw_charts(run, summarise(run))


@pytest.fixture(scope="module")
def startup(
    run: RunData, charts: dict[str, Chart], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("charts")
    charts["startup"].publish(folder, conditions_of(run))
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_each_style_has_its_files(startup: Path) -> None:
    stems = ("publication/startup-180mm", "publication/startup-88mm", "slides/startup")
    wanted = {f"{stem}.{form}" for stem in stems for form in ("svg", "png", "pdf")}
    assert wanted <= names(startup)
    assert all(re.fullmatch(r"slides/startup-\d\.\w+", name) for name in names(startup) - wanted)


@pytest.mark.parametrize(
    ("stem", "width_in"),
    [("publication/startup-180mm", 180 / 25.4), ("publication/startup-88mm", 88 / 25.4),
     ("slides/startup", 40 / 3)],
)  # fmt: skip
def test_the_three_formats_are_of_one_size(startup: Path, stem: str, width_in: float) -> None:
    with Image.open(startup / f"{stem}.png") as png:
        assert png.info["dpi"] == pytest.approx((300, 300), abs=0.5)
        size_in = (png.width / 300, png.height / 300)
    assert size_in[0] == pytest.approx(width_in, abs=0.02)
    svg = re.search(
        rb'width="([0-9.]+)pt" height="([0-9.]+)pt"', (startup / f"{stem}.svg").read_bytes()
    )
    pdf = re.search(
        rb"/MediaBox \[ 0 0 ([0-9.]+) ([0-9.]+) \]", (startup / f"{stem}.pdf").read_bytes()
    )
    for found in (svg, pdf):
        assert found is not None
        assert [float(found[n]) / 72 for n in (1, 2)] == pytest.approx(size_in, abs=0.02)
    if stem.startswith("slides"):
        assert size_in[0] / size_in[1] == pytest.approx(16 / 9, abs=0.01)


def test_letters_are_paths_in_svg_and_embedded_fonts_in_pdf(startup: Path) -> None:
    for stem in ("publication/startup-180mm", "slides/startup"):
        assert b"<text" not in (startup / f"{stem}.svg").read_bytes()
        pdf = (startup / f"{stem}.pdf").read_bytes()
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
        assert re.search(rb"/FontFile\d? ", pdf)
        assert any(b" Tf" in plain(stream) for stream in streams)


def plain(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream


def drawn(run: RunData, chart: Chart, style: object) -> list[list[Text]]:
    """All texts of each page and layout."""
    pages = []
    for each in STYLES:
        for layout in each.layouts if each is style else ():
            with alone(each, chart.title, conditions_of(run)) as sheet, settings():
                while sheet.page < sheet.pages:
                    chart.draw(layout)
                    assert sheet.root is not None
                    sheet.root.canvas.draw()
                    pages.append([t for t in sheet.root.findobj(Text) if t.get_text().strip()])
                    sheet.page += 1
    return pages


def test_type_is_seven_to_ten_points_in_print_and_eighteen_or_more_on_slides(
    run: RunData, charts: dict[str, Chart]
) -> None:
    for chart in charts.values():
        for texts in drawn(run, chart, PUBLICATION):
            assert all(7 <= float(text.get_fontsize()) <= 9 for text in texts), chart.name
        for texts in drawn(run, chart, SLIDES):
            sizes = [float(text.get_fontsize()) * SLIDES.scale for text in texts]
            assert min(sizes) >= 18 - 1e-9, chart.name


def test_each_page_says_n_the_interval_the_host_and_what_was_emulated(
    run: RunData, charts: dict[str, Chart]
) -> None:
    for style in STYLES:
        for texts in drawn(run, charts["startup"], style):
            words = " ".join(text.get_text() for text in texts)
            for said in ("n = 10 blocks", "95 % interval", "Synthetic CPU", "emulated in software"):
                assert said in words, (style.name, said)


def test_what_does_not_fit_on_a_slide_goes_to_the_next(
    run: RunData, charts: dict[str, Chart]
) -> None:
    pages = drawn(run, charts["memory"], SLIDES)
    assert len(pages) > 1
    shown = [{t.get_text() for t in texts} for texts in pages]
    for name in MANY:
        assert sum(name.replace(",", " ") in page for page in shown) == 1, name


def test_the_same_drawing_gives_the_same_files(
    run: RunData, charts: dict[str, Chart], startup: Path, tmp_path: Path
) -> None:
    charts["startup"].publish(tmp_path, conditions_of(run))
    for name in names(startup):
        assert (tmp_path / name).read_bytes() == (startup / name).read_bytes(), name


def test_a_report_alone_writes_no_further_styles(tmp_path: Path) -> None:
    plan = Plan(runtimes=("bare",), blocks=2, memory=False)
    small = load_run(make_run(tmp_path / "small", plan))
    build([small], tmp_path / "r.md", tmp_path / "charts", "md")
    assert not (tmp_path / "charts" / "slides").exists()
    assert (tmp_path / "charts" / "startup.svg").is_file()


def test_lines_break_between_chinese_characters_and_latin_words() -> None:
    lines = wrapped("每次试验一个点，共 20 个区组。 Linux 6.18 kernel", 24)
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == "每次试验一个点，共20个区组。Linux6.18kernel"
    assert not any(line.startswith("，") or line.startswith("。") for line in lines)
