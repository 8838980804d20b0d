"""Measures in words, for readers of the claims page."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

from dualgrad.wording import SYMBOLS

if TYPE_CHECKING:
    from dualgrad.claims.measure import Measurer

_NAMES = SYMBOLS | {
    "test_error": "test error",
    "best_error": "lowest error",
    "init_error": "initial error",
    "cos_target": "target cosine",
    "width_mult": "width",
    "lr": "learning rate",
    "lr_mult": "learning-rate factor",
    "clean_ratio": "trusted share",
    "schedule_type": "schedule",
    "hold_type": "hold",
    "hold_epochs": "epochs per λ",
    "stage_epoch": "epoch of the stage",
    "phase_label": "group",
    "threshold_lambda": "λ of the event",
    "first_crossing_lambda": "first λ beyond the threshold",
    "convergence_epoch": "convergence epoch",
    "avg_cos": "mean cosine",
    "first_cos": "cosine of the first 100 steps",
    "cos_mean": "mean cosine of the epoch",
    "cos_struct_value_mean": "mean cosine",
    "cos_struct_value": "cosine",
    "final_gap": "final gap",
    "ordered_final_error": "end error of the low branch",
    "collapse_final_error": "end error of the high branch",
    "ordered_init_error": "initial error of the low branch",
    "collapse_init_error": "initial error of the high branch",
    "init_success": "start passed its gate",
    "target_lambda": "target λ",
    "damage_epochs": "epochs of damage",
    "n_steps": "updates",
    "norm_mix": "norm of the mixed gradient",
    "source_file": "result file",
}
_STATISTICS = {
    "mean": "mean",
    "sd": "spread (n) of",
    "sd1": "spread (n - 1) of",
    "var": "variance (n) of",
    "var1": "variance (n - 1) of",
    "min": "smallest",
    "max": "largest",
    "levels": "levels of",
    "distinct": "number of different",
    "values": "each",
    "first": "first",
    "last": "last",
}
_BOUNDS = {
    "below": "<",
    "at_most": "≤",
    "above": ">",
    "at_least": "≥",
    "not": "≠",
    "multiple_of": "a multiple of",
    "starting": "starting with",
}
_TAKES = {
    "max": "largest",
    "min": "smallest",
    "span": "smallest and largest",
    "range": "range",
    "argmax": "place of the largest",
    "argmin": "place of the smallest",
    "argmax_at_edge": "whether the largest is at the edge of the grid",
    "distinct": "different values",
    "doubling": "where it passes twice its minimum",
    "steepness": "largest slope",
    "n": "number of levels",
    "rise": "rise from the minimum to the end",
    "steps": "steps from level to level",
    "pearson": "correlation with the level",
    "spearman": "rank correlation with the level",
    "largest": "value of largest size",
    "largest_size": "largest size",
    "largest_at": "place of the largest size",
    "largest_step_share": "largest step as a share of the range",
    "second": "second largest",
    "first": "first",
    "last": "last",
}
_TAKES_WITH = {
    "crossing": "where it rises through {}",
    "falling_crossing": "where it falls through {}",
    "first_above": "first level above {}",
    "first_above_after_minimum": "first level above {} beyond the minimum",
    "lowest": "the {} levels of lowest value",
    "slope_at": "slope where it rises through {}",
    "steepest": "{} of the steepest step",
    "largest_from": "largest from {} on",
    "size_from": "largest size from {} on",
    "count": "how many are {}",
    "levels": "levels where it is {}",
    "last_level": "last level where it is {}",
    "at": "at {}",
}
_JOINS = {"difference": "minus", "ratio": "over"}


def name_of(column: str) -> str:
    """Return a column's name for readers."""
    return _NAMES.get(column, column.replace("_", " "))


def condition_in_words(name: str, condition: Any) -> str:
    """Say a condition on a column, e.g. "λ 0.5" or "test error < 0.3"."""
    label = name_of(name)
    if isinstance(condition, Mapping):
        texts = []
        for word, bound in condition.items():
            if word == "known":
                texts.append(f"{label} {'known' if bound else 'absent'}")
            else:
                texts.append(f"{label} {_BOUNDS[word]} {_value(bound)}")
        return " and ".join(texts)
    return f"{label} {_value(condition)}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("_", " ")


def _criterion(condition: Any) -> str:
    if isinstance(condition, Mapping):
        return " and ".join(f"{_BOUNDS.get(word, word)} {_value(bound)}" for word, bound in condition.items())
    return _value(condition)


def rows_in_words(node: Mapping[str, Any]) -> str:
    """Say which rows a measure reads, e.g. "C · method CE · η 0.4"."""
    if "series" in node:
        source = "series " + ", ".join(node["series"])
    else:
        names = node.get("experiments", ())
        source = (
            ", ".join(names) if len(names) <= 10 else f"{len(names)} experiments ({names[0]} to {names[-1]})"
        )
    parts = [source]
    table = node.get("table", "runs")
    if table != "runs":
        parts.append(table)
    for name, condition in [*node.get("where", {}).items(), *node.get("of", {}).items()]:
        if condition is not None:
            parts.append(condition_in_words(name, condition))
    if node.get("untrapped"):
        parts.append("runs that are not trapped")
    return " · ".join(part for part in parts if part)


def in_words(node: Mapping[str, Any], measurer: Measurer) -> str:
    """Say how something is measured."""
    from dualgrad.claims.functions import FUNCTIONS, WORDS
    from dualgrad.claims.measure import field_of, inherit, parts_of

    def inner(one: Mapping[str, Any], *dropped: str) -> str:
        outer = {key: value for key, value in node.items() if key not in (*dropped, "take", "then", "unit")}
        return in_words(inherit(outer, one), measurer)

    if "parts" in node:
        texts = [in_words(part, measurer) for part in parts_of(node)]
        joined = "; ".join(dict.fromkeys(texts))
        return f"{_take(node['then'])} of: {joined}" if "then" in node else joined
    if "function" in node:
        usual = {
            name: one.default
            for name, one in signature(FUNCTIONS[node["function"]]).parameters.items()
            if one.default not in (one.empty, None)
        }
        arguments = {**usual, **node.get("with", {})}
        given = {key: _argument(key, value) for key, value in arguments.items()}
        if "over" in node:
            over = node["over"] if isinstance(node["over"], list) else [node["over"]]
            given["over"] = ", ".join(map(name_of, over))
        text = WORDS[node["function"]]
        for key, value in given.items():
            text = text.replace(f"{{{key}}}", value)
        between = node.get("with", {}).get("between")
        if between:
            text += ": " + " against ".join(_rows(inherit(_stripped(node), one), measurer) for one in between)
        else:
            rows = _rows(node, measurer)
            text += f", {rows}" if rows else ""
        return f"{_take(node['take'])} of: {text}" if "take" in node else text
    kind = next((key for key in ("difference", "ratio", "reduction") if key in node), None)
    if kind:
        first, second = (inner(one, kind) for one in node[kind])
        text = (
            f"1 - ({first}) / ({second})" if kind == "reduction" else f"({first}) {_JOINS[kind]} ({second})"
        )
        return f"{_take(node['take'])} of: {text}" if "take" in node else text
    statistic = node.get("statistic", "mean")
    if statistic in ("count", "share"):
        which = " and ".join(condition_in_words(*one) for one in node.get("which", {}).items())
        text = f"{'share' if statistic == 'share' else 'number'} of rows" + (
            f" with {which}" if which else ""
        )
    else:
        text = f"{_STATISTICS.get(statistic, statistic)} {name_of(field_of(node))}"
    if "per_run" in node:
        text += f" ({node['per_run']} of each run)"
    if "over" in node:
        over = node["over"] if isinstance(node["over"], list) else [node["over"]]
        text += f" by {', '.join(map(name_of, over))}"
        if "levels" in node:
            text += f" ({_value(node['levels'])})"
    text += f", {_rows(node, measurer)}"
    return f"{_take(node['take'])} of: {text}" if "take" in node else text


def _stripped(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ("function", "with", "take", "unit")}


def _rows(node: Mapping[str, Any], measurer: Measurer) -> str:
    return rows_in_words(measurer.resolved(node))


def _take(how: Any) -> str:
    if isinstance(how, list):
        return " and ".join(map(_take, how))
    if isinstance(how, str):
        return _TAKES.get(how, how.replace("_", " "))
    (word, argument), *_ = how.items()
    return _TAKES_WITH.get(word, word + " {}").replace("{}", _criterion(argument))


def _argument(key: str, value: Any) -> str:
    if key == "which":
        return " and ".join(condition_in_words(*one) for one in value.items())
    if key in ("text", "pattern", "patterns", "names"):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
        return ""
    return _value(value)
