"""Parts of a self-contained web page, as HTML. The page is one file, loads nothing and runs nothing."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
"""Content policy: a browser may use only what the page itself contains."""
_MOST_PIXELS_WIDE = 1440
_QUALITY = 82
_BROAD = 800
"""Width in pixels above which a phone scrolls a picture, because captions of a shrunk one could not be read."""
_STEPS = 6
"""Steps that a reader can switch between, at most; page.css has a rule for each."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number or word at the top of a page, with its name."""

    name: str
    value: str
    more: str = ""
    """A note in small letters under it."""


def render_page(title: str, lead: str, body: Iterable[str], *, foot: str) -> str:
    """Returns the whole page. The parts of `body` are markup; all other arguments are text."""
    style = (files("kinema.tools.report") / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>\n'
        + "\n".join(part for part in body if part)
        + f"\n<footer>{escape(foot)}</footer>\n</main>\n</body>\n</html>\n"
    )


def render_section(title: str, *parts: str) -> str:
    """Puts parts under a heading. Returns "" if all parts are empty."""
    inside = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inside}</section>" if inside else ""


def render_facts(given: Iterable[Fact]) -> str:
    """Puts facts next to each other."""
    items = "".join(
        f"<div><dt>{escape(fact.name)}</dt><dd>{escape(fact.value)}"
        f"{f'<small>{escape(fact.more)}</small>' if fact.more else ''}</dd></div>"
        for fact in given
    )
    return f'<dl class="facts">{items}</dl>' if items else ""


def render_charts(drawn: Iterable[str]) -> str:
    """Puts charts next to each other, as many as fit into a row."""
    inside = "".join(drawn)
    return f'<div class="charts">{inside}</div>' if inside else ""


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Returns a table of text, or "" if there are no rows. numbers: indices of the right-aligned columns."""
    if not rows:
        return ""

    def render_cells(row: Sequence[str], tag: str) -> str:
        kinds = ['class="number"' if place in numbers else "" for place in range(len(row))]
        return "".join(
            f"<{tag}{' ' + kind if kind else ''}>{_allow_breaks(text)}</{tag}>"
            for text, kind in zip(row, kinds, strict=True)
        )

    head = f"<thead><tr>{render_cells(header, 'th')}</tr></thead>" if any(header) else ""
    body = "".join(f"<tr>{render_cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def render_paragraph(text: str) -> str:
    """Returns a note in a muted color."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def render_command(text: str) -> str:
    """Returns a command line."""
    return f"<pre>{escape(text)}</pre>"


def render_details(title: str, *parts: str) -> str:
    """Folds parts under a title that opens them. Returns "" if all parts are empty."""
    inside = "".join(parts)
    return f'<details><summary>{escape(title)}</summary><div class="inside">{inside}</div></details>' if inside else ""


def render_picture(path: Path, caption: str) -> str:
    """Embeds a picture, reduced to the size of a screen, or a sentence in its place if the file is damaged."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return _render_figure(f"{escape(path.name)} cannot be read as a picture.", caption)
    if image.width > _MOST_PIXELS_WIDE:
        image = image.resize((_MOST_PIXELS_WIDE, max(round(image.height * _MOST_PIXELS_WIDE / image.width), 1)))
    content = io.BytesIO()
    image.save(content, "WEBP", quality=_QUALITY, method=2)
    kind = ' class="broad"' if image.width > _BROAD else ""
    return _render_figure(
        f'<img{kind} width="{image.width}" height="{image.height}" alt="{escape(caption, quote=True)}" '
        f'src="data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}">',
        caption,
    )


def render_film(path: Path, caption: str) -> str:
    """Embeds an MP4 file that plays in the page."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    return _render_figure(
        f'<video controls loop muted playsinline preload="metadata" aria-label="{escape(caption, quote=True)}" '
        f'src="data:video/mp4;base64,{encoded}"></video>',
        caption,
    )


def choose_steps(named: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Returns the files that `render_steps` shows: at most six, evenly spaced, with the first and the last."""
    count = min(len(named), _STEPS)
    return [named[round(number * (len(named) - 1) / max(count - 1, 1))] for number in range(count)]


def render_steps(
    named: Sequence[tuple[str, Path]],
    caption: str,
    *,
    group: str = "step",
    show: Callable[[Path, str], str] = render_picture,
) -> str:
    """Shows one of several files with buttons to switch between them; the last one is shown first.

    named: button text and file. group: a word that is unique in the page. show: makes markup of a file and its caption.
    """
    chosen = choose_steps(named)
    if not chosen:
        return ""
    if len(chosen) == 1:
        return show(chosen[0][1], f"{caption}, {chosen[0][0]}")
    inputs = "".join(
        f'<input type="radio" name="{group}" id="{group}{number}"{" checked" if number == len(chosen) - 1 else ""}>'
        f'<label for="{group}{number}">{escape(name)}</label>'
        for number, (name, _) in enumerate(chosen)
    )
    shown = "".join(show(path, f"{caption}, {name}") for name, path in chosen)
    return f'<div class="steps">{inputs}{shown}</div>'


def format_duration(seconds: int | float) -> str:
    """Formats a duration as hours and minutes, as minutes or, below ten minutes, as minutes and seconds."""
    whole = round(seconds)
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _allow_breaks(text: str) -> str:
    """Escapes text and lets a browser break lines inside paths and names."""
    return escape(text).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _render_figure(inside: str, caption: str) -> str:
    return (
        f'<figure class="picture"><div class="frame">{inside}</div><figcaption>{escape(caption)}</figcaption></figure>'
    )
