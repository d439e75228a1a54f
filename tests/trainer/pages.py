"""A page as its readers' programs see it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Page(HTMLParser):
    """Which tags a page has, whether they are balanced, and what it refers to."""

    EMPTY = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.outside = {*re.findall(r"https?://[^\s\"'<>)]+", text)} - NAMESPACES
        self.text = ""
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif tag == "h2":
            self.headings.append("")
        own = ("#", "data:")  # a mark within the page, a picture that it holds
        for name, value in attrs:
            if name in {"src", "href", "xlink:href"} and not (value or "").startswith(own):
                self.outside.add(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data
        if self.open[-1:] == ["h2"]:
            self.headings[-1] += data
