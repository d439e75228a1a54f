"""A page for people in one file: no script, no font, nothing from outside; light, dark, and on a phone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STYLE = """
:root { --ink: #1c2733; --soft: #64748b; --line: #d9e0e8; --paper: #fff; --wash: #f5f7fa;
  --one: #2563a8; --two: #d97706; --limit: #b42318; --fault: #f3c6c1; --good: #15803d;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e9f0; --soft: #94a3b8; --line: #334155;
  --paper: #111820; --wash: #18222d; --one: #7cb4f0; --two: #f2b04f; --limit: #f97066; --fault: #5c2a2a;
  --good: #4ade80; } }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 960px; margin: 40px auto; padding: 0 20px; overflow-wrap: break-word }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 18px; margin: 44px 0 4px } h3 { font-size: 15px; margin: 24px 0 4px }
p { margin: 4px 0 12px } .lead { color: var(--soft) }
dl { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 16px 0 }
dl div { background: var(--wash); border-radius: 8px; padding: 10px 14px }
dt { color: var(--soft); font-size: 13px } dd { margin: 0; font-size: 19px; font-weight: 600 }
.verdict { border-left: 4px solid var(--one); background: var(--wash); border-radius: 0 8px 8px 0;
  padding: 10px 16px; margin: 16px 0 }
.verdict.good { border-color: var(--good) } .verdict.bad { border-color: var(--limit) }
.verdict p { margin: 2px 0 } .verdict b { font-size: 16px }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: 8px 0 }
th, td { text-align: right; padding: 5px 7px; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 500; font-size: 13px; vertical-align: bottom; white-space: normal }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere;
  min-width: 130px }
tr.chosen { background: var(--wash) } tr.chosen td { font-weight: 600 }
td.long { white-space: normal; min-width: 86px } small { color: var(--soft) }
td.text { text-align: left; white-space: normal } td.drawn { padding: 2px 8px; width: 150px }
td.drawn svg { background: none; width: 150px; height: 34px }
figure { margin: 10px 0; min-width: 0 }
figure > svg, .scroll > svg { width: 100%; height: auto; background: var(--wash); border-radius: 8px;
  display: block }
figure.own > svg, figure.own > .scroll > svg { width: auto; max-width: none }
figcaption { color: var(--soft); font-size: 13px; padding: 4px 2px }
figcaption b { font-weight: 600; color: var(--ink); overflow-wrap: anywhere }
.key { margin-left: 12px; white-space: nowrap }
.key::before { content: ""; display: inline-block; width: 12px; height: 4px; border-radius: 2px;
  margin-right: 5px; vertical-align: middle; background: currentColor }
.key.band::before { height: 11px }
.one { color: var(--one) } .two { color: var(--two) } .limit { color: var(--limit) }
  .ink { color: var(--ink) }
.fault::before { background: var(--fault) } .soft::before { background: var(--line) }
.many { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr));
  gap: 2px 16px }
.bar { display: inline-block; height: 10px; border-radius: 3px; background: var(--one);
  vertical-align: middle }
td.bars { width: 30% } td.bars div { text-align: left }
ul { padding-left: 20px; margin: 6px 0 } code { font-size: 13px }
details summary { cursor: pointer; color: var(--soft) }
@media (max-width: 640px) {
  body { margin: 20px auto; padding: 0 14px } dl { grid-template-columns: repeat(2, 1fr) }
  figure.wide > .scroll > svg { min-width: 600px }
  table.cards tr { display: grid; grid-template-columns: repeat(3, 1fr);
  border-bottom: 1px solid var(--line) }
  table.cards tr.head { display: none }
  table.cards td { text-align: left; border: 0; overflow-wrap: anywhere; white-space: normal; width: auto }
  table.cards td:first-child { grid-column: 1 / -1; font-weight: 600; padding-bottom: 0 }
  table.cards td.drawn, table.cards td.text, table.cards td.bars { grid-column: 1 / -1 }
  table.cards td[title]::before { content: attr(title); display: block; color: var(--soft); font-size: 13px;
    font-weight: 400 } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """The whole document; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def section(title: str, how_to_read: str, *content: str) -> str:
    """A part of the page with a sentence for those who see such a chart for the first time."""
    return "\n".join((f"<section><h2>{escape(title)}</h2>", lead(how_to_read), *content, "</section>"))


def lead(text: str) -> str:
    return f'<p class="lead">{escape(text)}</p>' if text else ""


def tiles(figures: Mapping[str, str]) -> str:
    """Figures that one wants to see first."""
    cells = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(text)}</dd></div>" for n, text in figures.items())
    return f"<dl>{cells}</dl>"


def verdict(headline: str, reasons: Iterable[str], *, good: bool | None) -> str:
    """An answer with its reasons; `good` is None where it is neither."""
    kind = {True: " good", False: " bad", None: ""}[good]
    lines = "".join(f"<p>{escape(reason)}</p>" for reason in reasons)
    return f'<div class="verdict{kind}"><p><b>{escape(headline)}</b></p>{lines}</div>'


def bullets(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def key(name: str, style: str) -> str:
    """An entry of a legend; `style` is a class of the style sheet, with `band` for what is shaded."""
    return f'<span class="key {style}">{escape(name)}</span>'


def figure(svg: str, caption: str = "", *keys: str, kind: str = "") -> str:
    """A chart with its caption; `wide` ones are moved by a finger on a phone, `own` ones keep their size."""
    drawn = f'<div class="scroll">{svg}</div>' if kind else svg
    text = f"{escape(caption)}{''.join(keys)}"
    below = f"<figcaption>{text}</figcaption>" if text else ""
    return f'<figure class="{kind}">{drawn}{below}</figure>'


def small_figure(name: str, svg: str, note: str) -> str:
    """A chart among many, with its name above."""
    return f"<figure><figcaption><b>{escape(name)}</b> {escape(note)}</figcaption>{svg}</figure>"


def cell(text: str, kind: str = "") -> str:
    """A cell of a table, of HTML."""
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def bar(share: float, text: str) -> str:
    """A cell with a bar of a length between 0 and 1, and what it stands for."""
    length = f'<span class="bar" style="width: {max(0.0, min(1.0, share)) * 70:.1f}%"></span>'
    return f'<td class="bars"><div>{length} {escape(text)}</div></td>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, chosen: int | None = None) -> str:
    """A table that becomes cards on a phone.

    Args:
        headings: Of the columns.
        rows: A text for each column, or a cell made by `cell` or `bar`.
        chosen: The row that stands out.
    """
    names = "".join(f"<th>{escape(name)}</th>" for name in headings)
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(
            (text if text.startswith("<td") else f"<td>{escape(text)}</td>").replace(
                "<td", f'<td title="{escape(name)}"', 1
            )
            for name, text in zip(headings, row, strict=True)
        )
        kind = ' class="chosen"' if number == chosen else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    return (
        f'<div class="scroll"><table class="cards"><tr class="head">{names}</tr>'
        f"{''.join(lines)}</table></div>"
    )
