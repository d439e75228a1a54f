"""The section `learning`: what is done for machines without a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from config.quantities import Duration, Positive
from config.section import AtLeastOne, Limits, Section, Text
from config.streams import RangeOfTwo


class Learning(Section, frozen=True):
    """From the first reading to the first bundle."""

    enabled: bool = True
    auto: bool = True
    at_least: Annotated[Duration, Positive] = timedelta(days=1)
    least: AtLeastOne = 300
    z: Annotated[float, Limits(gt=0)] = 12.0
    limits: Mapping[Text, RangeOfTwo] = {}
