"""The report in a real browser: Chromium, by Playwright. Without Chromium these tests skip."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from host import BROWSERS
from matplotlib.image import imread

from harness.analysis.frames import load_run
from harness.model import Outcome
from harness.report import build
from tests.synthetic import QUICK, Plan, make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright")

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

ATTACKS = (
    "<script>window.pwned=1</script>",
    '"onmouseover="window.pwned=1" x="',
    "javascript:window.pwned=1",
    "</style><svg onload=window.pwned=1>",
    "--><img src=x onerror=window.pwned=1>",
    "]]></svg><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "{{ 7*7 }}${7*7}",
)
NAMES = dict(zip(QUICK, (f"{name}{attack}" for name, attack in zip(QUICK, ATTACKS, strict=False)),
                 strict=True))  # fmt: skip


class Visit:
    """A page in a window of its own, and everything that it said, asked for and opened."""

    def __init__(self, context: BrowserContext, report: Path) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())

    def left(self, report: Path) -> list[str]:
        """Requests for anything but the file itself and what it carries."""
        return [url for url in self.asked if url != report.as_uri() and url[:5] != "data:"]

    def column(self, table: int, column: int) -> list[str]:
        """The cells of a column that are shown, from top to bottom."""
        rows = self.page.locator("table").nth(table).locator("tbody tr:visible")
        return [row.locator("th,td").nth(column).inner_text() for row in rows.all()]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an ordinary run, with a failure in it."""
    folder = tmp_path_factory.mktemp("browser")
    fail = {33: (Outcome.FAILED, "READY did not arrive within 60 s")}
    run = load_run(make_run(folder / "run", Plan(fail=fail)))
    build([run], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose every name and text is an attack."""
    fail = {number: (Outcome.FAILED, attack) for number, attack in enumerate(ATTACKS, 40)}
    folder = make_run(tmp_path_factory.mktemp("browser") / "run", Plan(fail=fail))
    for name in ("manifest.json", "journal.jsonl"):
        lines = (folder / name).read_text().splitlines()
        said = [json.loads("".join(lines))] if name == "manifest.json" else map(json.loads, lines)
        (folder / name).write_text("\n".join(json.dumps(poison(each)) for each in said) + "\n")
    build([load_run(folder)], folder / "report.html")
    return folder / "report.html"


def poison(value: object) -> object:
    """Runtimes renamed, and other texts attacked, wherever they stand."""
    if isinstance(value, dict):
        return {
            NAMES.get(key, key): ATTACKS[0] + each
            if key in ("title", "question", "text", "remedy", "cpu_model") and isinstance(each, str)
            else poison(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [poison(each) for each in value]
    return NAMES.get(value, value) if isinstance(value, str) else value


@pytest.fixture
def visit(chromium: Browser, report: Path) -> Iterator[Visit]:
    with chromium.new_context(viewport={"width": 1100, "height": 900}) as context:
        yield Visit(context, report)


def test_it_says_no_error_and_asks_for_nothing(visit: Visit, report: Path) -> None:
    images = visit.page.locator("img").all()
    assert len(images) > 5
    for image in images:
        image.scroll_into_view_if_needed()
        assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") > 100
    assert visit.said == []
    assert visit.left(report) == []


def test_tables_sort_by_what_their_cells_mean(visit: Visit) -> None:
    visit.page.locator("details").evaluate_all("all => all.forEach(d => d.open = true)")
    before = visit.column(0, 2)
    assert any(" ms" in cell for cell in before)
    assert any(cell.endswith(" s") for cell in before)
    head = visit.page.locator("table").first.locator("thead th").nth(2)
    head.get_by_role("button").click()
    rising = visit.column(0, 2)
    assert head.get_attribute("aria-sort") == "ascending"
    assert [seconds(cell) for cell in rising] == sorted(seconds(cell) for cell in before)
    head.get_by_role("button").click()
    assert visit.column(0, 2) == rising[::-1]
    head.get_by_role("button").click()
    assert visit.column(0, 2) == before
    assert head.get_attribute("aria-sort") is None


def seconds(cell: str) -> float:
    number, unit = cell.split()
    return float(number) * {"s": 1.0, "ms": 1e-3, "µs": 1e-6}[unit]


def test_tables_filter(visit: Visit) -> None:
    visit.page.locator("details").evaluate_all("all => all.forEach(d => d.open = true)")
    assert len(visit.column(0, 0)) == len(QUICK)
    visit.page.get_by_role("searchbox").first.fill("CONTAINER ru")
    assert visit.column(0, 0) == ["runc", "crun"]
    assert visit.page.locator("output").first.inner_text() == f"2 / {len(QUICK)}"
    visit.page.get_by_role("searchbox").first.fill("")
    assert len(visit.column(0, 0)) == len(QUICK)


def test_figures_of_unlike_spans_cannot_be_put_in_order(visit: Visit) -> None:
    unlike = visit.page.locator("table[data-unranked]")
    assert any("Timed" in head for head in unlike.locator("thead").all_inner_texts())
    assert unlike.locator("button").count() == 0


def test_each_chart_has_its_numbers_one_click_away(visit: Visit) -> None:
    figures = visit.page.locator("figure")
    assert figures.count() == visit.page.locator("figure a.csv").count()
    with visit.page.expect_download() as waiting:
        figures.first.locator("a.csv").click()
    assert waiting.value.suggested_filename == "startup.csv"
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert lines[0] == "runtime,class,what,number,value,low,high,unit"
    assert sum(line.startswith("crun,container,trial,") for line in lines) == 10


@pytest.mark.parametrize("width", [390, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_wide_and_narrow(
    chromium: Browser, report: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    with chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme
    ) as context:
        page = Visit(context, report).page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for shown in (page.locator("figure img").first, page.locator("h2").first):
            corner = imread(BytesIO(shown.screenshot()))[2, 2, :3].mean()
            assert corner > 0.9 if scheme == "light" else corner < 0.2, corner


def test_all_is_there_without_script(chromium: Browser, report: Path) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        page = Visit(context, report).page
        assert page.locator("table").count() > 5
        assert page.locator("input, button").count() == 0
        page.locator("summary").first.click()
        assert "crun" in page.locator("table").first.inner_text()


def test_hostile_words_are_shown_and_do_nothing(chromium: Browser, hostile: Path) -> None:
    with chromium.new_context(viewport={"width": 390, "height": 800}) as context:
        seen = Visit(context, hostile)
        page = seen.page
        page.locator("details").evaluate_all("all => all.forEach(d => d.open = true)")
        page.locator("thead button").first.click()
        for row in page.locator("tbody th").all()[:6]:
            row.hover()
        words = page.inner_text("body")
        for attack in ATTACKS[:5]:
            assert attack in words
        assert page.evaluate("window.pwned") is None
        assert page.locator("script").count() == 1
        assert page.locator("iframe, object, embed, svg, base, form").count() == 0
        assert page.locator("a[href^='javascript:' i]").count() == 0
        assert not re.search(r"<[^>]+\son\w+=", page.evaluate(
            "[...document.querySelectorAll('*')].map(e => e.getAttributeNames().join('=x ') )"
            ".map(n => `<a ${n}>`).join('')"
        ))  # fmt: skip
        assert seen.said == []
        assert seen.left(hostile) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_policy_holds_even_if_markup_got_in(visit: Visit) -> None:
    """What escaping keeps out, the policy would stop a second time."""
    ran = visit.page.evaluate("""() => {
        const script = document.createElement("script");
        try { script.textContent = "window.pwned = 1"; } catch (refused) { return refused.name; }
        document.body.append(script);
        return window.pwned ?? "nothing";
    }""")
    assert ran in ("TypeError", "nothing")
    assert visit.page.evaluate("fetch('https://example.org/').catch(e => e.name)") == "TypeError"
