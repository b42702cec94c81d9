"""The page: complete, safe, tested in a real browser, with descriptions of all pictures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.latency.statistics import Ratio
from edgekit.latency.sustained import Sustained, Window
from edgekit.reports.html import page
from edgekit.reports.load_charts import sketch_loads
from edgekit.reports.summary import Load

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Outline(HTMLParser):
    """Tags with their attributes, in order, and the ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def browse(text: str, script: str, folder: Path, width: int = 1200) -> Any:
    """What the function body ``script`` returns in the page, and that the console stays silent."""
    assert CHROMIUM is not None
    told = f"""<pre id="told"></pre><script>
document.getElementById("told").textContent = JSON.stringify((() => {{ {script} }})());
</script></body>"""
    file = folder / "page.html"
    file.write_text(text.replace("</body>", told), encoding="utf-8")
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--window-size={width},900",
            *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    found = re.search('<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None and found[1]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_it_loads_nothing_else_and_is_reproducible(sweep: Path, hostile: Path) -> None:
    text = page(edgekit.report(sweep, hostile))
    assert text == page(edgekit.report(sweep, hostile))
    outline = Outline(text)
    for tag, attributes in outline.tags:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert re.match("#|data:,$", attributes.get(name) or "#"), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", text)
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_picture_has_a_description(sweep: Path) -> None:
    text = page(edgekit.report(sweep))
    outline = Outline(text)
    pictures = outline.all("svg")
    assert len(pictures) >= 6
    ids = {attributes.get("id") for _, attributes in outline.tags}
    for picture in pictures:
        assert picture["role"] == "img" and picture["aria-label"]
        assert set((picture["aria-labelledby"] or "").split()) <= ids
    for figure in re.findall("<figure.*?</figure>", text, re.DOTALL):
        assert "<title" in figure and "<desc" in figure
        assert re.search("<details>.*<tbody>.*<td", figure, re.DOTALL)


def test_a_load_that_lasts_is_a_curve_with_its_windows(sweep: Path) -> None:
    report = edgekit.report(sweep / "bench.json")
    (load,) = report.loads
    text = page(report)
    (figure,) = re.findall('<figure class="under-load">.*?</figure>', text, re.DOTALL)
    assert "Latency over 1 seconds without a pause, window by window" in figure
    assert "This machine does not report: " in figure or not load.sustained.unread
    assert figure.count("<tr>") == 1 + len(load.sustained.windows)
    assert "ms, median" in figure and "ms, 99th percentile" in figure


def test_a_machine_that_tells_everything_has_a_panel_for_each_and_marks_what_held_it() -> None:
    windows = tuple(
        Window(
            float(at), 9, 2.0 + at, 3.0 + at, 2000, 900 - at, 70.0 + at, 15.0, ("heat",) * (at > 5)
        )
        for at in range(8)
    )
    load = Sustained("engine", 8.0, windows, Ratio(1.5, 1.4, 1.6), ())
    ((section, title, description, figure, _, rows),) = sketch_loads([Load("b.json", load)])
    assert (section, title) == ("under load", "engine, b.json")
    assert "Held down in 2 windows by heat." in description
    assert "1.50 [1.40, 1.60] slower" in description and "does not report" not in description
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["ms, median", "ms, 99th percentile", "CPU, MHz", "GPU, MHz", "°C", "W"]
    assert list(figure.axes[4].lines[0].get_ydata()) == [70.0 + at for at in range(8)]
    assert list(figure.axes[0].lines[1].get_xdata()) == [6.0, 7.0]
    assert rows[7] == ("7 s", "9.000", "10.00", "2000", "893", "77", "15", "heat")


def test_texts_of_users_are_escaped(hostile: Path) -> None:
    text = page(edgekit.report(hostile))
    outline = Outline(text)
    assert len(outline.all("script")) == len(outline.all("style")) == 1
    assert outline.all("img") == []
    assert "{{7*7}}" in text and "$x$" in text
    pictures = "".join(re.findall("<svg.*?</svg>", text, re.DOTALL))
    assert "&lt;script&gt;" in pictures and "<script" not in pictures


def test_the_page_of_a_bench_alone(sweep: Path) -> None:
    text = page(edgekit.report(sweep / "bench.json"))
    assert "Precision audit" not in text and "Latency" in text


@browser
@pytest.mark.parametrize("width", [1200, 500])
def test_it_loads_silently_and_shows_hostile_names_as_text(
    sweep: Path, hostile: Path, tmp_path: Path, width: int
) -> None:
    script = """return {
      width: innerWidth,
      scripts: document.scripts.length, images: document.images.length,
      first: document.querySelector("#entries tbody th").firstChild.textContent,
      wide: document.documentElement.scrollWidth <= innerWidth,
      drawn: [...document.querySelectorAll("svg")].every((s) => s.getBBox().width > 50),
    };"""
    told = browse(page(edgekit.report(sweep, hostile)), script, tmp_path, width)
    assert told == {
        "width": width,
        "scripts": 2,
        "images": 0,
        "first": '<script>alert(1)</script> $x$ --> {{7*7}} "quoted" int8',
        "wide": True,
        "drawn": True,
    }


@browser
def test_it_sorts_and_filters(sweep: Path, hostile: Path, tmp_path: Path) -> None:
    script = """
    const names = () => [...document.querySelectorAll("#entries tbody tr")]
      .filter((row) => !row.hidden).map((row) => row.cells[1].textContent + row.cells[4].textContent);
    const press = (title) => [...document.querySelectorAll("#entries th button")]
      .find((button) => button.textContent === title).click();
    const type = (text) => {
      const filter = document.getElementById("filter");
      filter.value = text;
      filter.dispatchEvent(new Event("input"));
    };
    const said = { first: names() };
    press("SQNR, dB"); said.up = names();
    press("SQNR, dB"); said.down = names();
    said.sort = document.querySelector("[aria-sort]").getAttribute("aria-sort");
    press("published top-1"); said.known = names();
    press("published top-1"); said.known_down = names();
    type("LENET5 pass"); said.filtered = names();
    said.count = document.getElementById("count").textContent;
    type("nothing like it"); said.none = names();
    return said;"""
    report = edgekit.report(sweep, hostile)
    told = browse(page(report), script, tmp_path)
    first, second, third = told["first"]
    assert first == "int83.0" and second.startswith("fp16") and third.startswith("int8")
    assert told["up"] == [first, third, second]
    assert told["down"] == [second, third, first]
    assert told["sort"] == "descending"
    assert told["known"][0] == told["known_down"][0] == third
    assert (told["filtered"], told["count"], told["none"]) == ([third], "1 of 3", [])


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named_with_its_extra(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(edgekit.EnvironmentLacks, match=package) as caught:
        edgekit.report(sweep / "bench.json", html=tmp_path / "r.html")
    assert caught.value.hint == "pip install 'edgekit[report]'"
    assert not (tmp_path / "r.html").exists()
    assert edgekit.report(sweep / "bench.json", json=tmp_path / "r.json").entries
