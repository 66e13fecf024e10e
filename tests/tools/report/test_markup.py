"""Parts of a page escape their text; pictures are embedded and bounded."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.tools.report import markup


def read_images(html: str) -> list[Image.Image]:
    found = re.findall(r"data:image/webp;base64,([^\"]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[str, Path]]:
    """Ten pictures, each brighter than the one before."""
    for number in range(10):
        Image.fromarray(np.full((20, 30, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return [(f"step {number}", tmp_path / f"{number}.png") for number in range(10)]


def test_text_is_escaped_everywhere() -> None:
    evil = '<script>alert("x")</script>'
    parts = [
        markup.render_section(
            evil,
            markup.render_paragraph(evil),
            markup.render_command(evil),
            markup.render_details(evil, markup.render_paragraph(evil)),
        ),
        markup.render_facts([markup.Fact(name=evil, value=evil, more=evil)]),
        markup.render_table((evil,), [(evil,)], numbers=(0,)),
    ]
    page = markup.render_page(evil, evil, parts, foot=evil)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 14
    assert "default-src 'none'" in page


def test_a_page_loads_nothing(pictures: list[tuple[str, Path]]) -> None:
    page = markup.render_page("a", "b", [markup.render_steps(pictures, "c")], foot="d")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert "url(" not in page
    assert "@import" not in page


def test_empty_parts_give_no_markup() -> None:
    assert markup.render_section("a", "", "") == ""
    assert (
        markup.render_table(("a",), [])
        == markup.render_charts([])
        == markup.render_steps([], "a")
        == markup.render_facts([])
        == ""
    )
    assert markup.render_details("a", "") == markup.render_paragraph("") == ""


def test_at_most_six_steps_and_the_last_is_shown_first(pictures: list[tuple[str, Path]]) -> None:
    html = markup.render_steps(pictures, "what")
    assert re.findall(r"<label[^>]*>([^<]*)<", html) == [f"step {number}" for number in (0, 2, 4, 5, 7, 9)]
    assert [round(np.asarray(image).mean() / 20) for image in read_images(html)] == [0, 2, 4, 5, 7, 9]
    (checked,) = re.findall(r'id="(\w+)" checked', html)
    assert checked == "step5"
    one = markup.render_steps(pictures[:1], "what")
    assert "<input" not in one
    assert len(read_images(one)) == 1


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000), (9, 200, 40)).save(tmp_path / "a.png")
    html = markup.render_picture(tmp_path / "a.png", 'a "quoted" name')
    assert read_images(html)[0].size == (1440, 480)
    assert 'class="broad"' in html
    assert 'alt="a &quot;quoted&quot; name"' in html


def test_a_film_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    assert f'src="data:video/mp4;base64,{base64.b64encode(b"film").decode()}"' in markup.render_film(
        tmp_path / "a.mp4", "a"
    )


def test_long_names_may_break() -> None:
    assert "a/<wbr>long_<wbr>name" in markup.render_table(("",), [("a/long_name",)])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((3.4, "3 s"), (59.6, "1 min 00 s"), (400, "6 min 40 s"), (1453, "24 min")),
        *((3599, "1 h 00 min"), (9e6, "2,500 h 00 min")),
    ],
)
def test_durations(seconds: int | float, text: str) -> None:
    assert markup.format_duration(seconds) == text
