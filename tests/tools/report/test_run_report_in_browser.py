"""The page of a run in a headless Chromium: at phone and desktop width, in light and dark mode.

The page itself runs nothing. To measure the layout, a copy of it gets a script.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinema.tools.report.run_report import write_report
from tests.runs.runs import write_run

PHONE, DESKTOP = 390, 1280
_PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const all = (what) => [...document.querySelectorAll(what)];
  const seen = (element) => element.getClientRects().length > 0;
  const facts = {
    wide: document.documentElement.scrollWidth - innerWidth,
    cut: all("h1, h2, p, dd, .chart, .facts, table").filter(seen)
      .filter((e) => !e.closest(".wide") && e.getBoundingClientRect().right > innerWidth + 1).length,
    columns: new Set(all(".chart").map((e) => Math.round(e.getBoundingClientRect().left))).size,
    images: all("img").map((e) => e.naturalWidth),
    shown: all(".steps .picture").filter(seen).length,
    videos: all("video").map((e) => [e.videoWidth, e.error && e.error.message]),
    labels: all(".chart text").map((e) => e.getBoundingClientRect().height),
    ink: getComputedStyle(document.body).color, paper: getComputedStyle(document.body).backgroundColor,
  };
  document.documentElement.setAttribute("data-facts", JSON.stringify(facts));
}, 300));</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium on this machine: `apt-get install chromium` brings one")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_run(tmp_path_factory.mktemp("shown") / "run"))


def open_page(browser: str, page: Path, *options: str, width: int, dark: bool) -> subprocess.CompletedProcess[str]:
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    line = [browser, *fixed, scheme, f"--window-size={width},2400", *options, page.as_uri()]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)


def lay_out(browser: str, report: Path, folder: Path, *, width: int, dark: bool) -> dict[str, Any]:
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text())
    probed = folder / "probed.html"
    probed.write_text(page.replace("</body>", f"{_PROBE}</body>"))
    dom = open_page(browser, probed, "--virtual-time-budget=4000", "--dump-dom", width=width, dark=dark).stdout
    (facts,) = re.findall(r'data-facts="([^"]*)"', dom)
    return json.loads(html.unescape(facts))


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (DESKTOP, True)])
def test_layout(browser: str, report: Path, tmp_path: Path, width: int, dark: bool) -> None:
    facts = lay_out(browser, report, tmp_path, width=width, dark=dark)
    assert facts["wide"] <= 0
    assert facts["cut"] == 0
    assert facts["columns"] == (1 if width == PHONE else 3)
    assert len(facts["images"]) == 5
    assert min(facts["images"]) > 0
    assert facts["shown"] == 2  # the last picture and the last film of the steps
    assert facts["videos"] == 5 * [[60, None]]  # four of steps and one other
    assert min(facts["labels"]) >= 10  # pixels, so that axes can be read
    ink, paper = (sum(map(int, re.findall(r"\d+", facts[name])[:3])) for name in ("ink", "paper"))
    assert (ink > 600 and paper < 100) if dark else (ink < 120 and paper > 720)


def test_a_page_loads_and_logs_nothing(browser: str, report: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    done = open_page(browser, report, f"--screenshot={shot}", width=PHONE, dark=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == PHONE
    assert pixels[5, 5].sum() < 100
    assert pixels.std() > 10
