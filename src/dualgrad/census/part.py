"""What all models of the census share: strict, frozen, no unknown keys, and messages in the house's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from dualgrad.validation import clipped, did_you_mean

# A stage that is written out epoch by epoch (a ramp, a plan) must fit into memory.
LONGEST = 100_000
# NumPy's legacy generator takes seeds below 2^32; offsets are added to these.
LARGEST_SEED = 2**31 - 1

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=2**53)]
Epochs = Annotated[int, Field(ge=1, le=LONGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
ClassNumber = Annotated[int, Field(ge=0)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
RunId = Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")]


def left_out(value: Any) -> bool:
    """Whether an optional key is not written down: it is None."""
    return value is None


def optional(description: str, **limits: Any) -> Any:
    """A field that a run need not have; in the plain dict its key is then missing."""
    return Field(default=None, exclude_if=left_out, description=description, **limits)


class Part(BaseModel):
    """A part of a run: frozen and strict. An unknown key is refused with the nearest known one."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            known = keys_of(cls)
            for key in given:
                if key not in known:
                    problem = (
                        f"unknown key '{clipped(key)}'{did_you_mean(key, known)} (known: {', '.join(known)})"
                    )
                    raise PydanticCustomError("unknown_key", "{problem}", {"problem": problem})
        return given

    def plain(self) -> dict[str, Any]:
        """The part as a plain dict, as Snakemake, trainer and records have it."""
        return self.model_dump(mode="json", by_alias=True)


@cache
def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Names of a model's keys, as they are written."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def wrong(key: str, problem: str) -> NoReturn:
    """Refuse a part from within one of its validators, naming the key that the problem is about."""
    raise PydanticCustomError("unfit", "{problem}", {"problem": problem, "key": key})


MISSING = "the key is missing"


def explain(error: ValidationError, given: Any) -> tuple[str, str]:
    """Return the key and the problem of the first thing that is wrong with *given*."""
    found = _telling(error.errors(include_url=False))
    last = [str(found["loc"][-1])] if found["type"] == "missing" else []
    path = ".".join([*_path(found["loc"], given), *last])
    context = found.get("ctx", {})
    if found["type"] == "unfit":
        return ".".join(part for part in (path, context["key"]) if part), context["problem"]
    return path, _problem(found, context)


def _telling(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """The innermost failure; of alternatives, not the one whose type alone is wrong: it was another one."""
    return max(errors, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))


def _path(location: Sequence[str | int], given: Any) -> Iterator[str]:
    """The keys of a location, without the tags of alternatives; items of a list by their name if they have one."""
    for place in location:
        if isinstance(given, Mapping) and place in given:
            given = given[place]
            yield str(place)
        elif isinstance(given, Sequence) and isinstance(place, int) and place < len(given):
            given = given[place]
            yield str(given.get("name", place)) if isinstance(given, Mapping) else str(place)


_BOUNDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']:,.10g}",
    "less_than_equal": lambda context: f"at most {context['le']:,.10g}",
    "greater_than": lambda context: f"more than {context['gt']:,.10g}",
    "less_than": lambda context: f"less than {context['lt']:,.10g}",
    "literal_error": lambda context: (
        f"one of {context['expected'].replace(' or ', ', ').replace(chr(39), '')}"
    ),
    "union_tag_invalid": lambda context: f"one of {context['expected_tags'].replace(chr(39), '')}",
    "too_short": lambda context: f"at least {context['min_length']} item(s)",
    "too_long": lambda context: f"at most {context['max_length']} item(s)",
    "string_pattern_mismatch": lambda context: f"a text like {context['pattern']}",
    "finite_number": lambda context: "a finite number",
    "int_type": lambda context: "an integer",
    "float_type": lambda context: "a number",
    "bool_type": lambda context: "true or false",
    "string_type": lambda context: "a text",
    "tuple_type": lambda context: "a list",
    "dict_type": lambda context: "a mapping",
    "model_type": lambda context: "a mapping",
    "model_attributes_type": lambda context: "a mapping",
    "none_required": lambda context: "null",
}


def _problem(found: ErrorDetails, context: Mapping[str, Any]) -> str:
    kind = found["type"]
    if kind == "unknown_key":
        return str(context["problem"])
    if kind == "missing":
        return MISSING
    if kind == "union_tag_not_found":
        return f"the key {context['discriminator']} is missing"
    value = found["input"]
    if kind == "union_tag_invalid":
        value = context["tag"]
    expected = _BOUNDS[kind](context) if kind in _BOUNDS else found["msg"]
    hint = ""
    if kind in ("literal_error", "union_tag_invalid"):
        hint = did_you_mean(value, expected.removeprefix("one of ").split(", "))
    return f"expected {expected}; got {clipped(repr(value))}{hint}"
