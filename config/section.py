"""What all sections have in common: they are frozen, strict, and deaf to what they do not know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from config.problems import UnmetError


class Section(BaseModel):
    """A group of options; frozen, and deaf to anything it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, values: object) -> object:
        return {} if values is None else values  # a section whose options are all commented out


def check_text(text: str) -> str:
    """Passes a text that says something and can be shown on one line."""
    if not text:
        raise UnmetError("must not be empty")
    if not text.isprintable():
        raise UnmetError("must not contain control characters")
    return text


def _parse_path(value: object) -> object:
    return Path(check_text(value)) if isinstance(value, str) else value


def _list_to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, AfterValidator(check_text)]
File = Annotated[Path, BeforeValidator(_parse_path)]
ListToTuple = BeforeValidator(_list_to_tuple)
AtLeastOne = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
