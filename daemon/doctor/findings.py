"""What the doctor says: findings, and what it is at while a person waits."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from enum import StrEnum
from typing import TypeVar

import msgspec


class Verdict(StrEnum):
    """How it is: `failure` keeps the daemon from its work or loses something."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        check: What was looked at.
        verdict: How it is.
        found: What was there.
        change: What a person can do about it; None where there is nothing to do.
    """

    check: str
    verdict: Verdict
    found: str
    change: str | None = None


class Doing(msgspec.Struct, frozen=True):
    """What is done now, and takes a moment."""

    what: str


T = TypeVar("T")
Findings = Iterator[Finding | Doing]
Examination = Generator[Finding | Doing, None, T]
"""Findings, and at the end what the next examination needs to know."""


def ok(check: str, found: str) -> Finding:
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, change: str) -> Finding:
    return Finding(check, Verdict.WARNING, found, change)


def failure(check: str, found: str, change: str | None) -> Finding:
    return Finding(check, Verdict.FAILURE, found, change)
