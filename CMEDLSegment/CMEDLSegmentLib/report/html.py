"""The frame of a report: one HTML file that needs no network and no script, and prints on A4 and Letter."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from .. import __version__
from .style import display_name, printable

LONGEST = 48
"""Letters of a name that a table shows; the list of raters has all of them."""

_STYLE = """
:root { color-scheme: light }
* { box-sizing: border-box }
html { background: #eef1f4 }
body { font: 14px/1.45 "Helvetica Neue", Helvetica, Arial, sans-serif; color: #1c2530; background: #fff;
  max-width: 840px; margin: 24px auto; padding: 36px 48px 40px; box-shadow: 0 1px 6px #0002 }
header { display: flex; justify-content: space-between; gap: 24px; border-bottom: 2px solid #1c2530;
  padding-bottom: 10px; margin-bottom: 18px }
h1 { font-size: 25px; line-height: 1.15; margin: 0; letter-spacing: -.2px }
header p { margin: 4px 0 0; color: #5a6572 }
header .when { text-align: right; white-space: nowrap; font-size: 12px; color: #5a6572 }
h2 { font-size: 16.5px; margin: 30px 0 8px; padding-bottom: 3px; border-bottom: 1px solid #d5dae0; break-after: avoid }
h3 { font-size: 13px; margin: 16px 0 4px; break-after: avoid }
p { margin: 6px 0 }
.answer { font-size: 19px; line-height: 1.35; margin: 4px 0 8px; font-weight: 600 }
.lesser, figcaption, caption { color: #5a6572; font-size: 12px }
caption { text-align: left; padding: 2px 0 4px }
.tiles { display: flex; gap: 10px; margin: 16px 0 }
.tile { flex: 1 1 auto; border: 1px solid #d5dae0; border-radius: 5px; padding: 8px 11px }
.tile b { display: block; font-size: 19px; line-height: 1.3; white-space: nowrap; font-variant-numeric: tabular-nums }
.tile span { font-size: 11.5px; line-height: 1.3; max-width: 132px; color: #5a6572; display: block }
.notes { border: 1.5px solid #1c2530; border-left-width: 6px; border-radius: 3px; padding: 6px 14px 6px 12px;
  margin: 16px 0 }
.notes h3 { margin: 2px 0 }
.notes ul { margin: 2px 0; padding-left: 18px }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; margin: 8px 0 4px;
  font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 4px 7px; border-bottom: 1px solid #e3e7eb; vertical-align: top }
thead th { border-bottom: 1.5px solid #1c2530; vertical-align: bottom; font-weight: 600 }
td { white-space: nowrap }
th.text, td.text { text-align: left; white-space: normal; min-width: 4.8em }
a { color: inherit }
bdi { overflow-wrap: anywhere }
td small { display: block; color: #5a6572; font-size: 11px }
tr.candidate td { border-top: 1.5px solid #1c2530; font-weight: 600 }
tr.candidate td small { font-weight: 400 }
tr.sum td { border-top: 1.5px solid #1c2530 }
table, tr { break-inside: avoid }
thead { display: table-header-group }
figure { margin: 10px 0 14px; break-inside: avoid }
figure > svg, figure > img { display: block; width: 100%; height: auto }
figure > img { border: 2px solid #101216 }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 24px }
.three { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 2px 18px }
.two figure, .three figure { margin: 4px 0 6px }
.key { display: flex; flex-wrap: wrap; gap: 3px 16px; margin: 5px 0 3px; font-size: 12px }
.key span { display: inline-flex; align-items: center; gap: 6px; max-width: 100%; overflow-wrap: anywhere }
.key svg, td.line svg { width: 40px; height: 12px; flex: none }
dl { font-size: 12.5px; margin: 6px 0 }
dt { font-weight: 600; margin-top: 5px }
dd { margin: 0 }
footer { margin-top: 32px; padding-top: 8px; border-top: 1px solid #d5dae0; color: #5a6572; font-size: 12px }
@page { size: auto; margin: 14mm 13mm }
@media print {
  html { background: #fff }
  body { margin: 0; padding: 0; max-width: none; box-shadow: none; font-size: 10.5pt;
    -webkit-print-color-adjust: exact; print-color-adjust: exact }
}
"""


def html_page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """A whole HTML file of sections that are HTML already; ``title`` and ``subtitle`` are text.

    Its content policy forbids every request and script, whatever a name in it may look like.
    """
    now = datetime.now().astimezone()
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<div><h1>{escape_text(title)}</h1><p>{escape_text(subtitle)}</p></div>
<div class="when">{now:%Y-%m-%d %H:%M}<br>CMEDL {escape_text(__version__)}</div>
</header>
{"".join(section for section in sections if section)}
<footer>Research use, not a medical device.</footer>
</body>
</html>
"""


def escape_text(value: object) -> str:
    """Any text as HTML that shows just that text."""
    return escape(printable(str(value)))


def escape_name(value: str, longest: int = LONGEST) -> str:
    """A rater's name: kept apart from the text around it in whatever direction it is written, cut where too long."""
    value = display_name(value)
    short = value if len(value) <= longest else value[: longest - 1] + "…"
    tip = f' title="{escape_text(value)}"' if short != value else ""
    return f"<bdi{tip}>{escape_text(short)}</bdi>"


def section(heading: str, *parts: str) -> str:
    """A section of HTML parts."""
    return f"<section>\n<h2>{escape_text(heading)}</h2>\n{''.join(parts)}\n</section>\n"


def paragraph(sentence: str, kind: str = "") -> str:
    """A paragraph of text."""
    mark = f' class="{kind}"' if kind else ""
    return f"<p{mark}>{escape_text(sentence)}</p>\n"


def table(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], left: int = 1, caption: str = "") -> str:
    """A table.

    Args:
        header: texts.
        rows: each the row's kind (``candidate``, ``sum`` or "") and its cells, which are HTML already.
        left: how many of the first columns hold words rather than figures.
        caption: text under the heading, or "".
    """

    def line(tag: str, cells: Sequence[str], kind: str = "") -> str:
        marked = "".join(
            f'<{tag} class="text">{cell}</{tag}>' if place < left else f"<{tag}>{cell}</{tag}>"
            for place, cell in enumerate(cells)
        )
        return f'<tr class="{kind}">{marked}</tr>\n' if kind else f"<tr>{marked}</tr>\n"

    caption_html = f"<caption>{escape_text(caption)}</caption>" if caption else ""
    body = "".join(line("td", cells, kind) for kind, cells in rows)
    head = line("th", [escape_text(cell) for cell in header])
    return f"<table>{caption_html}<thead>{head}</thead><tbody>\n{body}</tbody></table>\n"


def figure(drawn: str, caption: str = "", heading: str = "") -> str:
    """A picture or chart that is HTML already, with texts above and below."""
    above = f"<h3>{escape_text(heading)}</h3>" if heading else ""
    below = f"<figcaption>{escape_text(caption)}</figcaption>" if caption else ""
    return f"<figure>{above}{drawn}{below}</figure>\n"


def embed_png(png: bytes, description: str) -> str:
    """A PNG within the page; ``description`` is for those who do not see it."""
    return f'<img alt="{escape_text(description)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
