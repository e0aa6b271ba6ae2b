"""The report's page in a real browser: whole without a network, readable on a phone, light and dark."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import subprocess
from datetime import date, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from spanledger.cli.reports.page import write_html
from spanledger.cli.reports.sections import Column, Document, Kind, Section

BROWSER = shutil.which("chromium") or shutil.which("chromium-headless-shell") or shutil.which("google-chrome")
ATTACK = "<script>document.title = 'broken'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"
MEASURE = """
<!DOCTYPE html><body><iframe id="page" style="border:0;width:{width}px;height:2000px"></iframe><pre id="found"></pre>
<script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const sizes = [...page.querySelectorAll("rect")].map(each => each.getBoundingClientRect());
  document.getElementById("found").textContent = JSON.stringify({{
    title: page.title,
    width: page.documentElement.scrollWidth,
    rects: sizes.length,
    drawn: sizes.filter(each => each.width > 0 && each.height > 0).length,
    scripts: page.scripts.length,
    images: page.images.length,
    loaded: view.performance.getEntriesByType("resource").length,
    background: view.getComputedStyle(page.body).backgroundColor,
    color: view.getComputedStyle(page.body).color,
    font: parseFloat(view.getComputedStyle(page.body).fontSize),
    reach: Math.max(...[...page.querySelectorAll("td")].map(each => each.getBoundingClientRect().right)),
    cells: [...page.querySelectorAll("td")].map(each => each.textContent),
  }});
}};
frame.srcdoc = {page};
</script></body>
"""


def page() -> str:
    days = [
        {"day": date(2026, 11, 1) + timedelta(days=n), "cost_usd": D(n + 1), "low": D(n + 1), "high": D(n + 2)}
        for n in (0, 1, 2, 7)
    ]
    teams = [
        {"team": ATTACK, "amount_usd": D("12.5")},
        {"team": "search", "amount_usd": D("-3")},
        {"team": "", "amount_usd": None},
    ]
    document = Document(
        title="Report " + ATTACK,
        subtitle="organisation " + ATTACK,
        facts=[("booked", "[1.00, 2.00]", ATTACK)],
        sections=[
            Section(
                name="days", title="Spend by day", records=days, bar="cost_usd", days=True,
                columns=[Column("day", "day"), Column("cost USD", "cost_usd", Kind.money, "low", "high")],
            ),
            Section(
                name="teams", title="Who pays", records=teams, bar="amount_usd", notes=[ATTACK],
                columns=[Column("team", "team"), *(Column("pays USD", "amount_usd", Kind.money) for _ in range(9))],
            ),
            Section(name="none", title="Nothing", records=[], columns=[], empty=ATTACK),
        ],
        problems=[ATTACK],
    )  # fmt: skip
    file = io.StringIO()
    write_html(document, file)
    return file.getvalue()


def test_the_page_names_nothing_outside_itself():
    text = page()
    assert "http-equiv" in text
    assert not re.search(r"<[^>]+\s(?:src|href|action|data)\s*=|@import|url\(|<script|<link|<img|<iframe", text)
    assert html.escape(ATTACK) in text.replace("&#39;", "&#x27;")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium-headless-shell")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False)])
def test_it_is_whole_and_readable_in_a_browser(tmp_path: Path, width: int, dark: bool):
    found = measured(tmp_path, width, dark=dark)
    assert found["title"].startswith("Report <script>")
    assert found["width"] <= width
    if width < 640:
        # Nothing has to be scrolled aside to be read on a phone, the table of ten columns neither.
        assert found["reach"] <= width
    assert found["scripts"] == found["images"] == found["loaded"] == 0
    # Four days, and three teams of which one has no amount.
    assert (found["rects"], found["drawn"]) == (7, 6)
    assert found["font"] >= 16
    assert (brightness(found["background"]) < 80) is dark
    assert abs(brightness(found["background"]) - brightness(found["color"])) > 150
    assert "[1.00, 2.00]" in found["cells"]
    assert ATTACK in found["cells"]


def measured(folder: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """What the browser made of the page, in a frame of this width, without any name to resolve."""
    assert BROWSER is not None
    outer = folder / "outer.html"
    outer.write_text(MEASURE.format(width=width, page=json.dumps(page()).replace("</", "<\\/")), encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--virtual-time-budget=5000", "--dump-dom", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shown = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert shown is not None, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(shown[1]))
    return found


def brightness(color: str) -> int:
    """Of a CSS colour ``rgb(r, g, b)``, 0 to 255."""
    red, green, blue = (int(part) for part in re.findall(r"\d+", color)[:3])
    return (red + green + blue) // 3
