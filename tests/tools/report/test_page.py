"""The parts of a page: what is said is escaped, pictures are inside and bounded."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.tools.report import page


def images(markup: str) -> list[Image.Image]:
    found = re.findall(r"data:image/webp;base64,([^\"]+)", markup)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[str, Path]]:
    """Ten of them, each brighter than the one before."""
    for number in range(10):
        Image.fromarray(np.full((20, 30, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return [(f"step {number}", tmp_path / f"{number}.png") for number in range(10)]


def test_text_is_escaped_everywhere() -> None:
    evil = '<script>alert("x")</script>'
    parts = [
        page.section(evil, page.paragraph(evil), page.command(evil), page.folded(evil, page.paragraph(evil))),
        page.facts([page.Fact(name=evil, value=evil, more=evil)]),
        page.table((evil,), [(evil,)], numbers=(0,)),
    ]
    whole = page.page(evil, evil, parts, foot=evil)
    assert "<script" not in whole
    assert whole.count("&lt;script&gt;") == 14
    assert "default-src 'none'" in whole


def test_a_page_loads_nothing(pictures: list[tuple[str, Path]]) -> None:
    whole = page.page("a", "b", [page.steps(pictures, "c")], foot="d")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", whole)
    assert "url(" not in whole
    assert "@import" not in whole


def test_empty_parts_leave_nothing() -> None:
    assert page.section("a", "", "") == ""
    assert page.table(("a",), []) == page.charts([]) == page.steps([], "a") == page.facts([]) == ""
    assert page.folded("a", "") == page.paragraph("") == ""


def test_pictures_over_time_are_six_and_the_last_is_seen_first(pictures: list[tuple[str, Path]]) -> None:
    markup = page.steps(pictures, "what")
    assert re.findall(r"<label[^>]*>([^<]*)<", markup) == [f"step {number}" for number in (0, 2, 4, 5, 7, 9)]
    assert [round(np.asarray(image).mean() / 20) for image in images(markup)] == [0, 2, 4, 5, 7, 9]
    (checked,) = re.findall(r'id="(\w+)" checked', markup)
    assert checked == "step5"
    one = page.steps(pictures[:1], "what")
    assert "<input" not in one
    assert len(images(one)) == 1


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000), (9, 200, 40)).save(tmp_path / "a.png")
    markup = page.picture(tmp_path / "a.png", 'a "quoted" name')
    assert images(markup)[0].size == (1440, 480)
    assert 'class="broad"' in markup
    assert 'alt="a &quot;quoted&quot; name"' in markup


def test_a_film_is_inside(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    assert f'src="data:video/mp4;base64,{base64.b64encode(b"film").decode()}"' in page.film(tmp_path / "a.mp4", "a")


def test_long_names_may_break() -> None:
    assert "a/<wbr>long_<wbr>name" in page.table(("",), [("a/long_name",)])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((3.4, "3 s"), (59.6, "1 min 00 s"), (400, "6 min 40 s"), (1453, "24 min")),
        *((3599, "1 h 00 min"), (9e6, "2,500 h 00 min")),
    ],
)
def test_durations(seconds: int | float, text: str) -> None:
    assert page.duration_text(seconds) == text
