"""The parts of a self-contained web page: nothing is loaded from anywhere, nothing runs, everything is in one file."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: what is in it."""
_MOST_PIXELS_WIDE = 1440
_QUALITY = 82
_BROAD = 800
"""Pixels from which a picture on a phone is moved under the finger rather than shrunk until its words are gone."""
_STEPS = 6
"""Pictures of one place side by side in time, at most: page.css has a rule for each."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number or a word at the top of a page."""

    name: str
    value: str
    more: str = ""
    """In small letters under it."""


def page(title: str, lead: str, body: Iterable[str], *, foot: str) -> str:
    """The whole page; `lead`, `foot` and the title are text, the parts of the body markup."""
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


def section(title: str, *parts: str) -> str:
    """Parts under a heading; nothing where all of them are empty."""
    inside = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inside}</section>" if inside else ""


def facts(given: Iterable[Fact]) -> str:
    """Numbers beside each other."""
    items = "".join(
        f"<div><dt>{escape(fact.name)}</dt><dd>{escape(fact.value)}"
        f"{f'<small>{escape(fact.more)}</small>' if fact.more else ''}</dd></div>"
        for fact in given
    )
    return f'<dl class="facts">{items}</dl>' if items else ""


def charts(drawn: Iterable[str]) -> str:
    """Charts beside each other, as many as there is room for."""
    inside = "".join(drawn)
    return f'<div class="charts">{inside}</div>' if inside else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Rows of text. numbers: columns that are set to the right; nothing where there are no rows."""
    if not rows:
        return ""

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = ['class="number"' if place in numbers else "" for place in range(len(row))]
        return "".join(
            f"<{tag}{' ' + kind if kind else ''}>{_breakable(text)}</{tag}>"
            for text, kind in zip(row, kinds, strict=True)
        )

    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>" if any(header) else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def paragraph(text: str) -> str:
    """A sentence in a quiet color."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def command(text: str) -> str:
    """Something that was typed."""
    return f"<pre>{escape(text)}</pre>"


def folded(title: str, *parts: str) -> str:
    """Parts that open when the title is touched; nothing where all are empty."""
    inside = "".join(parts)
    return f'<details><summary>{escape(title)}</summary><div class="inside">{inside}</div></details>' if inside else ""


def picture(path: Path, caption: str) -> str:
    """A picture of a file, reduced to what a screen shows; words in its place where it is damaged."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return _figure(f"{escape(path.name)} cannot be read as a picture.", caption)
    if image.width > _MOST_PIXELS_WIDE:
        image = image.resize((_MOST_PIXELS_WIDE, max(round(image.height * _MOST_PIXELS_WIDE / image.width), 1)))
    content = io.BytesIO()
    image.save(content, "WEBP", quality=_QUALITY, method=2)
    kind = ' class="broad"' if image.width > _BROAD else ""
    return _figure(
        f'<img{kind} width="{image.width}" height="{image.height}" alt="{escape(caption, quote=True)}" '
        f'src="data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}">',
        caption,
    )


def film(path: Path, caption: str) -> str:
    """An MP4 file that plays in the page."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    return _figure(
        f'<video controls loop muted playsinline preload="metadata" aria-label="{escape(caption, quote=True)}" '
        f'src="data:video/mp4;base64,{encoded}"></video>',
        caption,
    )


def spread(named: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """As many of the files as `steps` shows: of more than six the first, the last, and some between."""
    count = min(len(named), _STEPS)
    return [named[round(number * (len(named) - 1) / max(count - 1, 1))] for number in range(count)]


def steps(
    named: Sequence[tuple[str, Path]],
    caption: str,
    *,
    group: str = "step",
    show: Callable[[Path, str], str] = picture,
) -> str:
    """Files of one thing at several times, of which one is seen and touching a name shows another; the last first.

    group: a word that no other such part of the page has. show: what makes markup of a file and its caption.
    """
    chosen = spread(named)
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


def duration_text(seconds: int | float) -> str:
    """Hours and minutes, or minutes, or under ten of them minutes and seconds."""
    whole = round(seconds)
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _breakable(text: str) -> str:
    """Escaped text that a browser may break inside paths and names."""
    return escape(text).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _figure(inside: str, caption: str) -> str:
    return (
        f'<figure class="picture"><div class="frame">{inside}</div><figcaption>{escape(caption)}</figcaption></figure>'
    )
