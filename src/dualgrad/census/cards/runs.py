"""What a run trains, in words: data, network, noise, value signal, optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualgrad.census.cards.stages import other
from dualgrad.census.cards.words import Run, number
from dualgrad.census.networks import PARAMETERS
from dualgrad.census.run import trained_on
from dualgrad.wording import listed

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


def steps_per_epoch(run: Run) -> int:
    """Optimizer steps of one epoch."""
    task = run["task"]
    examples = trained_on(task, task["subset"] or run["data"]["train"])
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
    rest = trained_on(task, task["subset"] or run["data"]["train"]) % task["batch_size"]
    if rest:
        batches += ", the incomplete one left out" if task["drop_last"] else f", the last one of {rest} kept"
    parts = [run["data"]["title"], f"{batches}: {steps_per_epoch(run)} steps per epoch"]
    if task.get("validation"):
        share = number(100 * task["validation"]["share"])
        parts.append(f"{share} % of the training examples set aside for validation")
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
    if model == {"name": "textcnn"}:
        return f"{words} (128 parameters per word and 154,502)"
    count = PARAMETERS.get((model["name"], width, classes))
    return words + (f" ({count:,} parameters)" if count else "")


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
    if noise["kind"] == "transition":
        return f"class-dependent, {_rate(run)}: every label on its own, by the row of its class in a matrix; {seed}"
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
        parts[0] += f" × the `{run['lr_scale']['field']}` of {other(run, run['lr_scale']['run'])}"
    return ", ".join(parts)


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
