"""HTML by functions: every text is escaped, unless it is Markup that was made here."""

import base64
from html import escape
from unicodedata import category


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


UNFIT = ("Cc", "Cs")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
VOID = ("img", "meta", "link", "rect", "circle", "line", "path")


def tag(element: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """Write an element; a child of None, and an attribute of None, is left out.

    Attributes are named as in HTML with `_` for `-`, and with one behind where Python has the word.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    given = "".join(f' {key}="{escape(_text(v))}"' for key, v in named.items() if v is not None)
    if element in VOID and not children:
        return Markup(f"<{element}{given}/>")
    return Markup(f"<{element}{given}>{join(*children)}</{element}>")


def join(*parts: str | None) -> Markup:
    """Put parts after one another, those that are plain text escaped."""
    kept = [part for part in parts if part is not None]
    return Markup("".join(p if isinstance(p, Markup) else escape(clean(p)) for p in kept))


def clean(text: str) -> str:
    """Replace what no document may hold: lone surrogates and control characters."""
    kept = (c if c in "\n\t" or category(c) not in UNFIT else REPLACEMENT for c in text)
    return "".join(kept)


def number(value: float) -> str:
    """Write a number in three digits or more, for people.

    >>> number(1953.4), number(0.01234)
    ('1,953', '0.0123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 -- three digits


def percent(share: float) -> str:
    """Write a share as a percentage that no line breaks."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def grid(heads: list[str], rows: list[list[str]], *, caption: str, numbers: int = 0) -> Markup:
    """Write a table that scrolls on a narrow page; from column `numbers` on, cells are numbers."""
    cells = [
        [tag("td", cell, class_=_kind(n, numbers)) for n, cell in enumerate(row)] for row in rows
    ]
    top = [tag("th", head, scope="col", class_=_kind(n, numbers)) for n, head in enumerate(heads)]
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *top)),
        tag("tbody", *(tag("tr", *row) for row in cells)),
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def picture(jpeg: bytes | None, alternative: str) -> Markup:
    """Show a JPEG that travels within the page, or a blank where there is none."""
    if jpeg is None:
        return tag("div", "no picture", class_="blank")
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return tag("img", src=source, alt=alternative, loading="lazy")


def _kind(column: int, numbers: int) -> str | None:
    return "number" if numbers and column >= numbers else None


def _text(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{value:.6g}"
