"""Protocol cards: what each experiment of the census trains, in words and numbers (``docs/protocols.md``).

Everything is derived from the resolved runs of the edition ``paper``, so a card says what is executed. Runs of an
experiment that differ in something are told apart by the factors that make the difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations, groupby
from typing import Any

from dualgrad.census.load import Census

Run = Mapping[str, Any]

# Networks and their parameters by number of classes, as the specs print them; a test counts them.
_NETWORKS = {
    "resnet18_own": "ResNet-18, own code",
    "resnet18_tv": "ResNet-18, torchvision's with a 3×3 stem and no max-pool",
    "resnet34_own": "ResNet-34, own code",
    "resnet34_tv": "ResNet-34, torchvision's with a 3×3 stem and no max-pool",
    "vgg11_p": "VGG11 with batch norm and one linear layer",
    "vgg11_p2": "VGG11 with batch norm, a hidden layer and dropout",
    "simplecnn_p": "SimpleCNN, four convolutions",
    "simplecnn_p2": "SimpleCNN, two pairs of convolutions and dropout",
    "distilbert": "DistilBERT, pretrained, with a new head",
    "textcnn": "TextCNN from scratch",
}
PARAMETERS = {
    ("resnet18_own", 0.5, 10): 2_797_610,
    ("resnet18_own", 1.0, 10): 11_173_962,
    ("resnet18_own", 2.0, 10): 44_662_922,
    ("resnet18_own", 1.0, 100): 11_220_132,
    ("resnet18_tv", None, 10): 11_173_962,
    ("resnet18_tv", None, 100): 11_220_132,
    ("resnet34_own", None, 10): 21_282_122,
    ("resnet34_tv", None, 10): 21_282_122,
    ("vgg11_p", None, 10): 9_231_114,
    ("vgg11_p2", None, 10): 9_493_770,
    ("simplecnn_p", None, 10): 399_626,
    ("simplecnn_p2", None, 10): 2_360_906,
    ("distilbert", None, 2): 66_955_010,
}
_SERIES = {
    "A-Q": "images, from scratch",
    "R-W": "loops, staircases, lifetimes, two branches, traps",
    "X": "text",
    "Y": "controls for the text runs",
    "helper": "needed by others, not counted",
    "archived": "superseded, not counted",
}
_SYMBOLS = {
    "lambda": "λ",
    "noise_rate": "η",
    "cos_target": "c",
    "clean_ratio": "ρ",
    "lr": "learning rate",
    "width_mult": "width",
    "hold_type": "hold",
    "schedule_type": "schedule",
}
_OUTCOMES = {
    "fixed": "error after the last epoch",
    "loop": "errors along λ up and down",
    "survival": "epochs until collapse, or observed without one",
    "spinodal": "λ at which the event comes, or none",
    "prep": "a starting state for others, and its error",
    "sweep": "errors along λ on one branch",
    "branches": "errors along λ on both branches",
    "base": "the two states before the jumps",
    "jump": "errors of both branches after the jump",
    "trap": "a trapped state",
    "escape": "whether the error gets below the threshold",
    "phases": "errors at the ends of the phases",
    "measure": "a number that other runs use",
}
_THRESHOLDS = {
    "convergence": "convergence below {}",
    "ordered": "ordered up to {}",
    "collapsed": "collapsed from {}",
    "trapped": "trapped from {}",
    "partial": "partial from {}",
    "escaped": "escaped below {}",
    "collapse": "collapse from {}",
    "good": "good below {}",
}
_ORDINALS = ("first", "second", "third", "fourth", "fifth")


# --- words and numbers ---------------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number as people write it: 0.35, 1,773, 2e-05 as 0.00002."""
    if isinstance(value, int) or float(value).is_integer() and abs(value) >= 1:
        return f"{int(value):,}"
    return f"{value:.10f}".rstrip("0") if abs(value) < 1e-3 and value else f"{value:g}"


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def plural(count: int, noun: str) -> str:
    """``1 epoch``, ``5,400 epochs``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def values(levels: Sequence[Any]) -> str:
    """Levels of a factor: a run of whole numbers as a range, the rest one by one."""
    if all(isinstance(level, int) for level in levels) and len(levels) > 2:
        ordered = sorted(levels)
        if ordered == list(range(ordered[0], ordered[-1] + 1)):
            return f"{ordered[0]} to {ordered[-1]}"
    if all(isinstance(level, (int, float)) for level in levels):
        levels = sorted(levels)
    return ", ".join(level if isinstance(level, str) else number(level) for level in levels)


def path(lambdas: Sequence[float]) -> str:
    """A sequence of λ: stretches with equal steps by their ends, other sequences value by value."""
    if len(lambdas) < 4:
        return ", ".join(number(value) for value in lambdas)
    steps = [round(abs(after - before), 6) for before, after in zip(lambdas, lambdas[1:], strict=False)]
    text, at = number(round(lambdas[0], 6)), 0
    stretches = [(step, len(list(same))) for step, same in groupby(steps)]
    if len(stretches) > 4:
        return ", ".join(number(value) for value in lambdas)
    for step, length in stretches:
        at += length
        text += f"{',' if at > length else ''} to {number(round(lambdas[at], 6))} by {number(step)}"
    return f"{text} ({len(lambdas)} values)"


# --- factors -------------------------------------------------------------------------------------------------

Block = dict[str, tuple[Any, ...]]  # factor -> its levels, in order


def blocks(cells: Iterable[Mapping[str, Any]]) -> list[Block]:
    """Combinations of factor levels as few rectangular grids, by joining the levels of one factor after the other."""
    found: list[Block] = [{name: (level,) for name, level in cell.items()} for cell in cells]
    factors = list(dict.fromkeys(name for block in found for name in block))
    for factor in reversed(factors):
        joined: dict[tuple[Any, ...], Block] = {}
        for block in found:
            if factor not in block:
                joined[False, *block.items()] = block
                continue
            rest = tuple((name, levels) for name, levels in block.items() if name != factor)
            before = joined.setdefault((True, *rest), {**block, factor: ()})
            before[factor] = (*before[factor], *block[factor])
        found = list(joined.values())
    return found


def grid(block: Block) -> str:
    """One rectangular grid in symbols: ``λ ∈ {0.1, 0.2} × η = 0.4 × seeds 0 to 2``."""
    parts = []
    for factor, levels in block.items():
        shown = values(levels)
        if factor == "seed":
            parts.append(f"seed {shown}" if len(levels) == 1 else f"seeds {shown}")
        else:
            symbol = _SYMBOLS.get(factor, factor)
            parts.append(f"{symbol} = {shown}" if len(levels) == 1 else f"{symbol} ∈ {{{shown}}}")
    return " × ".join(parts)


def told_apart(runs: Sequence[Run], words: Callable[[Run], str]) -> list[tuple[str, str]]:
    """What *words* says of runs, each with the condition under which it says so ("" if it is always the same).

    The condition names the fewest factors that tell the cases apart.
    """
    said = [(run, words(run)) for run in runs]
    cases = list(dict.fromkeys(text for _, text in said))
    if len(cases) == 1:
        return [("", cases[0])]
    factors = list(dict.fromkeys(name for run in runs for name in run["factors"]))
    for size in range(1, len(factors) + 1):
        for chosen in combinations(factors, size):
            seen: dict[tuple[Any, ...], str] = {}
            keys = [(tuple(run["factors"].get(name) for name in chosen), text) for run, text in said]
            if all(seen.setdefault(key, text) == text for key, text in keys):
                return [(_condition(chosen, seen, case), case) for case in cases]
    raise ValueError(f"runs of {runs[0]['experiment']} differ in something that no factor says")


def _condition(chosen: tuple[str, ...], seen: Mapping[tuple[Any, ...], str], case: str) -> str:
    cells = [
        {name: level for name, level in zip(chosen, key, strict=True) if level is not None}
        for key, text in seen.items()
        if text == case
    ]
    if all(not cell for cell in cells):
        return f"without {listed([_SYMBOLS.get(name, name) for name in chosen])}"
    return " or ".join(grid(block) if block else "otherwise" for block in blocks(cells))


# --- what a run is -------------------------------------------------------------------------------------------


def steps_per_epoch(run: Run) -> int:
    """Optimizer steps of one epoch."""
    task = run["task"]
    examples: int = task["subset"] or run["data"]["train"]
    size: int = task["batch_size"]
    full, rest = divmod(examples, size)
    return full if task["drop_last"] or not rest else full + 1


def planned_epochs(run: Run) -> int:
    """Epochs of a run if no gate or stop rule ends it early."""
    return sum(segment.get("epochs", 0) for stage in run["stages"] for segment in stage["segments"])


def data_words(run: Run) -> str:
    """Data and batches."""
    task = run["task"]
    batches = f"batches of {task['batch_size']}"
    rest = (task["subset"] or run["data"]["train"]) % task["batch_size"]
    if rest:
        batches += ", the incomplete one left out" if task["drop_last"] else f", the last one of {rest} kept"
    parts = [run["data"]["title"], f"{batches}: {steps_per_epoch(run)} steps per epoch"]
    if task["normalize"]:
        std = ", ".join(f"{value:.4f}" for value in task["normalize"]["std"])
        parts.append(f"input std ({std})")
    if task["kind"] == "text":
        parts.append(f"at most {task['max_length']} tokens")
        parts.append(f"evaluated in batches of {task['eval_batch_size']}")
    return "; ".join(parts)


def network_words(run: Run) -> str:
    """Network and its size."""
    model, classes = run["task"]["model"], run["task"]["classes"]
    if model["name"] not in _NETWORKS:  # one's own
        options = [f"{key} {one}" for key, one in model.items() if key not in ("name", "import")]
        return ", ".join([f"`{model['name']}`", *options])
    width, words = model.get("width"), _NETWORKS[model["name"]]
    if width not in (None, 1.0):
        words += f", width {number(width)}"
    count = PARAMETERS.get((model["name"], width, classes))
    return words + (f" ({count:,} parameters)" if count else " (128 parameters per word and 154,502)")


def _rate(run: Run) -> str:
    return (
        "η"
        if run["factors"].get("noise_rate") == run["noise"].get("rate")
        else f"η = {number(run['noise']['rate'])}"
    )


def _offset(spec: Mapping[str, Any]) -> str:
    if spec.get("seed") is not None:
        return f"seed {number(spec['seed'])} for every run".replace(",", "")
    offset = spec.get("seed_offset", 0)
    return f"seed s + {offset}" if offset else "seed s"


def noise_words(run: Run) -> str:
    """Label noise."""
    noise, n = run["noise"], run["data"]["train"]
    if noise["kind"] == "file":
        column = f", column `{noise['column']}`" if noise.get("column") else ""
        return f"labels from the file `{noise['path']}`{column}"
    seed = _offset(noise)
    if noise["kind"] == "symmetric":
        return (
            f"symmetric, {_rate(run)}: exactly ⌊η · {n:,}⌋ labels, each to any of the wrong classes; {seed}"
        )
    pairs = ", ".join(f"{source}→{target}" for source, target in noise.get("map", ()))
    if noise["kind"] == "asymmetric_bernoulli":
        return f"asymmetric ({pairs}), every label of these classes on its own with probability η; {seed}"
    if noise["kind"] == "asymmetric_exact":
        return f"asymmetric ({pairs}), exactly ⌊η · class size⌋ labels of each class, {_rate(run)}; {seed}"
    share = number(100 * run["value"]["trusted"]["ratio"])
    return (
        f"{_rate(run)}: {share} % of each class are set aside as trusted, exactly ⌊η · rest⌋ of the other labels "
        f"flipped, then {run['task']['subset']:,} of these sentences drawn as structure set; one generator, {seed}"
    )


def value_words(run: Run) -> str:
    """The value signal."""
    value, method = run["value"], run["method"]
    if method == "ce":
        return "none: plain cross-entropy on the noisy labels, raw gradient"
    if isinstance(method, Mapping):
        options = ", ".join(f"{key} {one}" for key, one in method.items() if key != "aggregator")
        how = method["aggregator"] + (f" ({options})" if options else "")
        return f"{value_words({**run, 'method': 'dual'})}; combined by TorchJD's {how}"
    if method == "lossmix":
        return "loss (1 − λ) · noisy + λ · clean, one raw gradient, fresh at every step"
    sign = "−" if value["sign"] < 0 else ""
    if value["synthetic"]:
        about, cosine = value["synthetic"]["about"], value["synthetic"]["cosine"]
        angle = "c" if run["factors"].get("cos_target") == cosine else number(cosine)
        reference = {
            "struct": "the structure gradient",
            "clean": f"the clean gradient, which is renewed every {value['period']} steps",
        }[about]
        return f"a direction at cosine {angle} to {reference}; its random part is fresh at every step"
    trusted = value["trusted"] or {}
    ratio = (
        "ρ" if run["factors"].get("clean_ratio") == trusted.get("ratio") else number(trusted.get("ratio", 0))
    )
    random = value["random"] or {}
    labels = {
        "clean": "clean labels of the whole batch",
        "shifted": "labels shifted by one class, (y + 1) mod 10",
        "random": "labels drawn at random once per run, the true class included"
        + (f" (NumPy seed {random['seed']})" if random.get("seed") is not None else " (private stream)"),
        "trusted": f"clean labels of the trusted examples in the batch (those of the file `{trusted['path']}`)"
        if trusted.get("path")
        else f"clean labels of the trusted images in the batch (share {ratio} of the training set, drawn with "
        f"{_offset(trusted)})",
        "trusted_batches": "batches of their own from the trusted sentences, clean labels",
    }[value["labels"]]
    renewed = "fresh at every step" if value["period"] == 1 else f"renewed every {value['period']} steps"
    text = f"{sign}gradient on {labels}; {renewed}"
    if value["fresh_every_step"]:
        text += ", computed at every step for the logs"
    return text


def mix_words(run: Run) -> str:
    """What is done to the mixed gradient."""
    return "brought to length 1" if run["renormalize"] else ""


def optimizer_words(run: Run) -> str:
    """Optimizer, learning rate, decay."""
    optimizer = run["optimizer"]
    name = {"sgd": "SGD", "adamw": "AdamW", "adam": "Adam"}[optimizer["name"]]
    parts = [name]
    begun = [stage for stage in run["stages"] if stage["segments"] and stage["start"]["kind"] != "continue"]
    if any(stage["lr"] is None for stage in begun):
        rate = "as in the grid" if run["factors"].get("lr") == optimizer["lr"] else number(optimizer["lr"])
        parts[0] += f", learning rate {rate}"
    if "momentum" in optimizer:
        parts.append(f"momentum {number(optimizer['momentum'])}")
    parts.append(f"weight decay {number(optimizer['weight_decay'])}")
    if run["lr_scale"]:
        parts[0] += f" × the `{run['lr_scale']['field']}` of {_other(run, run['lr_scale']['run'])}"
    return ", ".join(parts)


def _seed(offset: int) -> str:
    return f"seed s + {offset}" if offset else "seed s"


def _other(run: Run, name: str) -> str:
    """Another run's name with the parts that it has in common with this one as letters."""
    if run["seed"] is not None:
        name = re.sub(rf"seed{run['seed']}(?=\b|_)", "seed{s}", name)
    if "lambda" in run["factors"]:
        name = name.replace(f"lam{run['factors']['lambda']:g}", "lam{λ}")
    slot = run["factors"].get("slot")
    return f"`{name.replace(slot, '{slot}') if slot else name}`"


def _start(run: Run, stage: Mapping[str, Any], slots: Sequence[str]) -> str:
    start, seed = stage["start"], _seed(stage["seed_offset"])
    kind = start["kind"]
    if kind == "fresh":
        return f"new weights, {seed}"
    if kind == "continue":
        return "goes on with the same optimizer, schedule, step count and cache"
    new = f"new optimizer, {seed}" if stage["segments"] else "no training"
    if kind == "stage":
        return f"weights of `{start['stage']}`, {new}"
    if kind == "checkpoint":
        of = "" if start["stage"] == "main" else f" (`{start['stage']}`)"
        return f"weights of {_other(run, start['run'])}{of}, {new}"
    place = run["factors"].get("slot") in slots and slots.index(run["factors"]["slot"]) == start["index"]
    which = "one per slot" if place else f"the {_ORDINALS[start['index']]}"
    source = start["runs"][0].partition("/")[0]
    low, high = start["min"], start["max"]
    bounds = (
        (f"{number(low)} ≤ " if low is not None else "")
        + "error"
        + (f" < {number(high)}" if high is not None else "")
    )
    order = "in ascending order of error" if start["order"] == "ascending" else "in the order of their seeds"
    passing = f" with {bounds}" if bounds != "error" else ""
    return f"weights of a run of {source}{passing}, {which}, {order}; {new}"


def _held(segments: Sequence[Mapping[str, Any]]) -> str:
    lengths: set[Any] = {segment.get("epochs") for segment in segments}
    return plural(lengths.pop(), "epoch") if len(lengths) == 1 else ""


def _lambda(run: Run, stage: Mapping[str, Any]) -> str:
    segments = stage["segments"]
    if len(segments) == 1:
        (segment,) = segments
        length = (
            plural(segment["steps"], "step") if "steps" in segment else plural(segment["epochs"], "epoch")
        )
        own = run["method"] == "ce" or run["factors"].get("lambda") == segment["lambda"]
        return length if own else f"{length} at λ = {number(segment['lambda'])}"
    parts = []
    for direction, group in groupby(segments, key=lambda segment: segment["direction"]):
        part = list(group)
        if len(part) <= 3 and direction is None:
            parts += [f"{plural(one['epochs'], 'epoch')} at λ = {number(one['lambda'])}" for one in part]
            continue
        way = f"{direction} " if direction and len({one["direction"] for one in segments}) > 1 else ""
        parts.append(f"λ {way}{path([one['lambda'] for one in part])}, {_held(part)} each")
    return "; then ".join(parts)


def _schedule(run: Run, stage: Mapping[str, Any]) -> str:
    rate, schedule = stage["lr"], stage["schedule"]
    if schedule is None or not stage["segments"]:
        return ""
    kind = schedule["kind"]
    if kind == "constant":
        return "constant rate" + (f" {number(rate)}" if rate is not None else "")
    if kind == "multistep":
        return f"rate × {number(schedule['gamma'])} after epochs {listed([str(m) for m in schedule['milestones']])}"
    share = number(100 * schedule["warmup"])
    return f"rate rising from 0 over the first {share} % of the updates, then falling linearly to 0"


def _evaluated(stage: Mapping[str, Any]) -> str:
    rule = stage["evaluate"]
    if rule.get("at"):
        when = "evaluated at the end of each λ"
    elif rule.get("every") == 1:
        when = "evaluated after every epoch"
    elif rule.get("every"):
        when = f"evaluated every {rule['every']} epochs"
    else:
        when = "evaluated at the end" if stage["segments"] else "evaluated"
    return when + (", and before the first step" if rule.get("before") and stage["segments"] else "")


def _gate(gate: Mapping[str, Any] | None) -> str:
    if not gate:
        return ""
    words = {"max": "at most", "below": "below", "min": "at least"}
    what = " and ".join(f"{words[key]} {number(gate[key])}" for key in words if key in gate)
    end = "the run ends here otherwise" if gate["on_fail"] == "stop" else "noted only"
    return f"gate: error {what} ({end})"


def _stop(stop: Mapping[str, Any] | None) -> str:
    if not stop:
        return ""
    sign = {"above": ">", "below": "<"}[stop["error"]]
    if stop["inclusive"]:
        sign = {">": "≥", "<": "≤"}[sign]
    unit = {"epoch": "epochs", "segment": "λ-steps"}[stop["unit"]]
    return f"stops after {stop['consecutive']} {unit} in a row with error {sign} {number(stop['threshold'])}"


def stage_words(slots: Sequence[str]) -> list[Callable[..., str]]:
    """What is said of a stage, in functions of a run and the stage's place in it.

    Where it starts, λ over time, schedule, evaluations, gate and stop rule.
    """

    def about(words: Callable[[Run, Mapping[str, Any]], str]) -> Callable[..., str]:
        return lambda run, place: words(run, run["stages"][place])

    return [
        about(lambda run, stage: _start(run, stage, slots)),
        about(lambda run, stage: _lambda(run, stage) if stage["segments"] else ""),
        about(_schedule),
        about(lambda run, stage: _evaluated(stage)),
        about(lambda run, stage: _gate(stage["gate"])),
        about(lambda run, stage: _stop(stage["stop"])),
    ]


def kept_words(run: Run) -> str:
    """What is written down beside evaluations, and what the outcome is."""
    log, parts = run["log"], []
    if log["epochs"]:
        parts.append("losses, cosines and norms of every epoch")
    if log["steps_every"]:
        parts.append(f"gradients every {log['steps_every']} steps, before the update")
    if log["first_steps"]:
        parts.append(f"cosine and norm over the first {log['first_steps']} steps")
    if run["head_cosine_every"]:
        period = run["head_cosine_every"]
        often = "at every update" if period == 1 else f"every {period} updates"
        parts.append(f"cosine of the head's gradients {often}")
    labels = [f"`{name}`" for name in run["labels"]]
    if labels:
        parts.append(f"constant {listed(labels)}")
    text = _OUTCOMES[run["outcome"]]
    limits = [
        _THRESHOLDS.get(name, name + " {}").format(number(at)) for name, at in run["thresholds"].items()
    ]
    if limits:
        text += f" ({', '.join(limits)})"
    return text + (f"; also {', '.join(parts)}" if parts else "")


def seed_words(run: Run) -> str:
    """What s is, where it is not just the factor."""
    factor = run["factors"].get("seed")
    if run["seed"] is None:
        return "s is that of the starting state"
    if factor is None:
        return f"s = {run['seed']}"
    return "" if factor == run["seed"] else f"s = seed + {run['seed'] - factor}"


# --- what an experiment is -----------------------------------------------------------------------------------


def shared_groups(census: Census) -> dict[str, list[str]]:
    """Stream groups that several experiments share, with these experiments."""
    groups: dict[str, dict[str, None]] = {}
    for run in census.runs.values():
        groups.setdefault(run["streams"]["group"], {})[run["experiment"]] = None
    return {group: list(names) for group, names in groups.items() if len(names) > 1}


def counts(census: Census, runs: Sequence[Run]) -> dict[str, Any]:
    """Runs, trainings (copies train nothing), planned epochs, and hours recorded when published (None: never)."""
    trained = [run for run in runs if run["copy_of"] is None]
    seconds = recorded(census, runs)
    return {
        "runs": len(runs),
        "trainings": len(trained),
        "epochs": sum(planned_epochs(run) for run in trained),
        "per_run": sorted({planned_epochs(run) for run in trained}),
        "hours": sum(seconds) / 3600 if seconds else None,
        "timed": len(seconds),
    }


def recorded(census: Census, runs: Sequence[Run]) -> list[float]:
    """The seconds that the publication recorded of these runs, where it did."""
    known = (census.seconds_recorded.get(f"{run['experiment']}/{run['run']}") for run in runs)
    return [seconds for seconds in known if seconds is not None]


def _hours(count: Mapping[str, Any]) -> str:
    return "–" if count["hours"] is None else f"{count['hours']:.2f}"


def _head(census: Census, runs: Sequence[Run]) -> str:
    count = counts(census, runs)
    text = f"**{plural(count['runs'], 'run')}**"
    if count["trainings"] != count["runs"]:
        text += (
            f" from {plural(count['trainings'], 'training')}"
            if count["trainings"]
            else ", no training of their own"
        )
    per_run = count["per_run"]
    if count["epochs"]:
        each = f"{per_run[0]:,}" if len(per_run) == 1 else f"{listed([f'{n:,}' for n in per_run])}"
        text += f" · {plural(count['epochs'], 'epoch')} ({each} each)"
    if count["hours"] is None:
        return f"{text} · time not recorded"
    seconds = set(recorded(census, runs))
    each = (
        f"{number(min(seconds))} s each"
        if len(seconds) == 1
        else f"{number(min(seconds))} to {number(max(seconds))} s each"
    )
    return f"{text} · {count['hours']:.2f} A100-hours recorded ({each})"


def _lines(label: str, cases: Sequence[tuple[str, str]]) -> list[str]:
    cases = [(condition, text) for condition, text in cases if text]
    if not cases:
        return []
    if len(cases) == 1 and not cases[0][0]:
        return [f"- {label}: {cases[0][1]}"]
    if len(cases) == 1:
        return [f"- {label}, {cases[0][0]}: {cases[0][1]}"]
    return [f"- {label}:", *(f"  - {condition}: {text}" for condition, text in cases)]


def _joined(parts: Sequence[Callable[[Run], str]], run: Run) -> str:
    return "; ".join(filter(None, (words(run) for words in parts)))


def _stage_lines(runs: Sequence[Run], slots: Sequence[str]) -> list[str]:
    """Stages of runs that have the same ones in one list; otherwise one list per kind of run."""

    def names(run: Run) -> str:
        return "\n".join(stage["name"] for stage in run["stages"])

    lines = []
    for condition, case in told_apart(runs, names):
        members = [run for run in runs if names(run) == case]
        lines.append(f"- Stages, {condition}:" if condition else "- Stages:")
        for place, name in enumerate(case.split("\n"), start=1):
            parts = [partial(words, place=place - 1) for words in stage_words(slots)]
            same = [said[0][1] for words in parts if len(said := told_apart(members, words)) == 1]
            lines.append(f"  {place}. `{name}`: {'; '.join(filter(None, same))}")
            vary = [words for words in parts if len(told_apart(members, words)) > 1]
            if vary:
                cases = told_apart(members, partial(_joined, vary))
                lines += [f"     - {condition}: {text}" for condition, text in cases]
    return lines


def card(census: Census, name: str) -> str:
    """The card of one experiment, as Markdown."""
    experiment = census.experiments[name]
    runs = [census.runs[target] for target in experiment["runs"]]
    slots = list(dict.fromkeys(run["factors"]["slot"] for run in runs if "slot" in run["factors"]))
    grids = [f"{grid(block)}" for block in blocks(run["factors"] for run in runs)]
    originals = [run for run in runs if run["copy_of"] is None] or runs
    lines = [f"### {name}: {experiment['title']}", "", _head(census, runs), ""]
    lines += [f"- Grid: {grids[0]}"] if len(grids) == 1 else ["- Grid:", *(f"  - {one}" for one in grids)]
    lines += _lines("Data", told_apart(originals, data_words))
    lines += _lines("Network", told_apart(originals, network_words))
    lines += _lines("Noise", told_apart(originals, noise_words))
    lines += _lines("Value signal", told_apart(originals, value_words))
    lines += _lines("Mix", told_apart(originals, mix_words))
    lines += _lines("Optimizer", told_apart(originals, optimizer_words))
    lines += _lines("Seed", told_apart(originals, seed_words))
    lines += _stage_lines(originals, slots)
    lines += _lines("Outcome", told_apart(originals, kept_words))
    lines += _copies(runs)
    lines += _dependencies(census, name, runs)
    lines += _streams(census, name, runs)
    notes = experiment["notes"]
    lines += (
        [f"- Note: {notes[0]}"]
        if len(notes) == 1
        else ["- Notes:", *(f"  - {one}" for one in notes)]
        if notes
        else []
    )
    return "\n".join(lines)


def _copies(runs: Sequence[Run]) -> list[str]:
    copies = [run for run in runs if run["copy_of"]]
    if not copies:
        return []
    sources = list(dict.fromkeys(run["copy_of"].partition("/")[0] for run in copies))
    first = {run["prefix_epochs"] for run in copies}.pop()
    part = f"the first {plural(first, 'epoch')} of " if first else ""
    own = sources == [copies[0]["experiment"]]
    which = grid(blocks(run["factors"] for run in copies)[0]) if len(copies) < len(runs) else "all of them"
    whose = "other runs of this experiment" if own else f"runs of {listed(sources)}"
    return [f"- Copies: {which}: {part}{whose}, written down again"]


def _dependencies(census: Census, name: str, runs: Sequence[Run]) -> list[str]:
    def experiments(targets: Iterable[str]) -> list[str]:
        return [one for one in dict.fromkeys(target.partition("/")[0] for target in targets) if one != name]

    lines = []
    needs = experiments(need for run in runs for need in run["needs"])
    own = any(need.startswith(f"{name}/") for run in runs if not run["copy_of"] for need in run["needs"])
    if own:
        needs.append("its own first runs")
    if needs:
        lines.append(f"- Needs: {listed(needs)}")
    mine = {f"{name}/{run['run']}" for run in runs}
    users = [one for one, other in census.experiments.items() if one != name and _uses(census, other, mine)]
    if users:
        lines.append(f"- Needed by: {listed(users)}")
    return lines


def _uses(census: Census, experiment: Mapping[str, Any], targets: set[str]) -> bool:
    return any(need in targets for run in experiment["runs"] for need in census.runs[run]["needs"])


def _streams(census: Census, name: str, runs: Sequence[Run]) -> list[str]:
    (group,) = {run["streams"]["group"] for run in runs}
    others = [one for one in shared_groups(census).get(group, ()) if one != name]
    if others:
        return [f"- Streams: group `{group}`, shared with {listed(others)}"]
    if len({run["streams"]["replicate"] for run in runs}) > 1:
        return ["- Streams: its own, one set per replicate"]
    return []


# --- the document --------------------------------------------------------------------------------------------

_INTRODUCTION = """\
# Protocols

Generated from the census by `dualgrad cards`; edit `config/census`, not this file. One card for each experiment says
what the edition `paper` trains, which is what was published. The other trained editions run the same grids, stages,
gates and calendars on smaller tasks (`config/editions`). What was done as published down to its quirks, and what was
not, stands in [fidelity.md](fidelity.md).

## How to read a card

s is the base seed of a run, η the rate of label noise, λ the weight of the value gradient, K the number of steps
between two computations of it, t the number of steps done in a session. "Error" is the share of wrong answers on the
clean test set, never a percentage. Epochs are planned ones: a stop rule or a failed gate can end a run earlier.
A100-hours are those that the published rows record (for a training that was written down several times, once).

**The dual step.** For a batch x with noisy labels ỹ and value labels v: g_struct = ∇ CE(x, ỹ) at every step; if K
divides t, or nothing is cached yet, g_value = ∇ CE(x, v) from a second pass in train mode, otherwise the cached
gradient, up to K − 1 steps old. Both are divided by their norm over all parameters (+ 1e-12 for images), and the
optimizer gets

    g_mix = (1 − λ) · ĝ_struct + λ · ĝ_value

not brought back to length 1 unless the card says so. Momentum and weight decay (all parameters, biases and
normalisation layers too) act on g_mix. The second pass updates BatchNorm's running statistics a second time. In text,
the value gradient has batches, and dropout masks, of its own.

**Images.** 50,000 training and 10,000 test images; random crops of 32 × 32 with 4 pixels of padding, then random
flips, one view per image and step, used for both gradients. Evaluation is in eval mode on the whole test set.

**Text.** SST-2: 67,349 training sentences (29,780 negative, 37,569 positive) and, for evaluation, the 872 of the
validation set.

**Sessions.** A session begins with weights (new ones, or those of another run or stage) and has an optimizer, a
schedule, a step count t, a cache and a seed. A stage that goes on with the session before it shares all of these, so
λ changes under a running schedule, and the cache of the old λ is used until the next multiple of K.

**Seeds and streams.** Initial weights depend on the session's seed (and the network) alone, label noise and trusted
sets on s alone: runs with equal s have them in common, whatever their experiment, λ or η, and noise at a lower η is
part of that at a higher one. Batch order, crops, dropout, random labels and random directions come from private
streams, named by purpose, stream group, replicate, seed and session. The group is the experiment unless the card says
otherwise. So within an experiment, runs with equal seed see the same batches, as they did when published, and
experiments do not share them, except where they were one and the same training."""


def _overview(census: Census) -> list[str]:
    lines = ["## All experiments", "", "| experiment | what | runs | trainings | epochs | A100-hours |"]
    lines += ["|---|---|---:|---:|---:|---:|"]
    total = {"runs": 0, "trainings": 0, "epochs": 0, "hours": 0.0}
    for name, experiment in census.experiments.items():
        count = counts(census, [census.runs[target] for target in experiment["runs"]])
        shown = f"{count['runs']:,}" if experiment["counted"] else f"({count['runs']})"
        if experiment["counted"]:
            total = {key: total[key] + (count[key] or 0) for key in total}
        title, anchor = experiment["title"].replace("|", "\\|"), _anchor(f"{name}: {experiment['title']}")
        cells = [
            f"[{name}](#{anchor})",
            title,
            shown,
            f"{count['trainings']:,}",
            f"{count['epochs']:,}",
            _hours(count),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"| **counted** | | **{total['runs']:,}** | **{total['trainings']:,}** | **{total['epochs']:,}** "
        f"| **{total['hours']:.1f}** |"
    )
    untimed = [
        name
        for name, one in census.experiments.items()
        if one["counted"] and counts(census, [census.runs[target] for target in one["runs"]])["timed"] == 0
    ]
    lines += [
        "",
        "In parentheses: not counted. –: no time was recorded. The sum of the hours lacks those of ",
    ]
    lines[-1] += f"{listed(untimed)}."
    return lines


def _anchor(heading: str) -> str:
    """The anchor that Git hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _shared(census: Census) -> list[str]:
    lines = [
        "## Shared streams",
        "",
        "Experiments that share a stream group, because parts of them were one training:",
    ]
    lines.append("")
    for group, names in shared_groups(census).items():
        seeds = [
            {run["factors"].get("seed") for run in census.runs.values() if run["experiment"] == name}
            for name in names
        ]
        common = sorted(set.intersection(*seeds))
        lines.append(f"- `{group}`: {listed(names)}, for seeds {values(common)}")
    return lines


def document(census: Census) -> str:
    """``docs/protocols.md``: introduction, table, and the cards by series."""
    lines = [_INTRODUCTION, "", *_overview(census), "", *_shared(census)]
    order = dict.fromkeys(one["series"] for one in census.experiments.values())
    last = [series for series in order if series in ("helper", "archived")]
    for series in [one for one in order if one not in last] + last:
        names = [name for name, one in census.experiments.items() if one["series"] == series]
        what = _SERIES.get(series)
        lines += ["", f"## Series {series}" + (f": {what}" if what else "")]
        if series in last:
            lines[-1] = f"## {series.capitalize()}: {what}" if series == "archived" else f"## Helpers: {what}"
        for name in names:
            lines += ["", card(census, name)]
    return "\n".join(lines) + "\n"
