"""Malformed settings, editions, census files, claims, mappings, and command lines."""

from __future__ import annotations

import shutil
from pathlib import Path

from .case import Case, Change, edit, recode, write

CONFIG, CENSUS = "config/config.yaml", "config/census/A-Q.yaml"
LIST = ("census", "--count")
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def removed(path: str) -> Change:
    """Remove a file or a folder."""

    def change(root: Path) -> None:
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()

    return change


def folder(path: str) -> Change:
    """Put a folder where a file is expected."""

    def change(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        (root / path).mkdir(parents=True)

    return change


def link_to_itself(path: str) -> Change:
    """Put a link in a circle where a file is expected."""

    def change(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(Path(path).name)

    return change


def setting(name: str, new: str, *words: str) -> Case:
    """A line of config.yaml with another value."""
    key = new.split(":")[0]
    return Case("settings", name, LIST, (CONFIG, *words), edit(CONFIG, f"\n{key}:", f"\n{new}\nold_{key}:"))


def set_to(name: str, key: str, value: str, *words: str) -> Case:
    """A value of config.yaml replaced."""

    def change(root: Path) -> None:
        lines = (root / CONFIG).read_text(encoding="utf-8").splitlines()
        found = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines]
        assert found != lines
        (root / CONFIG).write_text("\n".join(found) + "\n", encoding="utf-8", errors="surrogatepass")

    return Case("settings", name, LIST, (CONFIG, *(words or (key,))), change)


SETTINGS = [
    set_to("an unknown choice", "device", "gpu", "device", "auto, cpu, cuda", "'gpu'"),
    set_to("on is no switch", "device", "on", "device", "auto, cpu, cuda", "'on'"),
    set_to("Norway", "edition", "no", "edition", "'no'"),
    set_to("an edition that is a flag", "edition", "true", "edition", "string", "True"),
    set_to("an edition that is a number", "edition", "1", "edition", "string"),
    set_to("an edition that is a path", "edition", "../editions/demo", "edition", "demo, paper"),
    set_to("an edition that is nothing", "edition", "", "edition", "string"),
    set_to("an edition that is a date", "edition", "2026-01-12", "edition", "expected"),
    set_to("an edition that is a list", "edition", "[demo, smoke]", "edition", "string"),
    set_to("a number as a text", "threads_per_job", '"2"', "threads_per_job", "integer", "'2'"),
    set_to("a whole number with a point", "threads_per_job", "2.0", "threads_per_job", "integer", "2.0"),
    set_to("minutes and seconds", "threads_per_job", "1:30", "threads_per_job", "integer", "'1:30'"),
    set_to("a flag for a number", "threads_per_job", "true", "threads_per_job", "integer", "True"),
    set_to("no threads", "threads_per_job", "0", "threads_per_job", "at least 1"),
    set_to("threads beyond counting", "threads_per_job", "1" + "0" * 30, "threads_per_job", "at most"),
    set_to("a margin that is no number", "compare_margin", ".nan", "line", "finite"),
    set_to("a margin without end", "compare_margin", ".inf", "line", "finite"),
    set_to("a margin too large for a float", "compare_margin", "1e999", "line", "finite"),
    set_to("a margin above one", "compare_margin", "1.5", "compare_margin", "between 0 and 1"),
    set_to("a margin of nothing", "compare_margin", "0", "compare_margin", "more than 0"),
    set_to("a folder with a NUL", "results_dir", '"a\\0b"', "results_dir", "folder"),
    set_to("a folder without a name", "data_dir", '""', "data_dir", "folder"),
    set_to("a folder that is a list", "data_dir", "[data]", "data_dir", "string"),
    set_to("steps below one", "max_steps", "0", "max_steps", "at least 1"),
    Case(
        "settings",
        "steps in an edition without",
        LIST,
        ("max_steps", "edition paper only", "not to demo"),
        edit(CONFIG, "max_steps: null", "max_steps: 2"),
    ),
    set_to("a comparison of one", "compare", "demo", "compare", "two editions"),
    set_to("no sample", "verify_sample", "-3", "verify_sample", "at least 1"),
    set_to("a Python object", "device", "!!python/object/apply:os.system [true]", "line", "tag"),
    set_to("an unknown tag", "device", "!cpu cpu", "line", "tag"),
    set_to("an alias without an anchor", "device", "*cpu", "line", "alias"),
    set_to("a value that contains itself", "compare", "&a [*a]", "line", "itself"),
    set_to("a bracket left open", "device", "[auto", "line"),
    set_to("a control character", "device", "au\x07to", "character"),
    Case(
        "settings",
        "a key twice",
        LIST,
        (CONFIG, "line", "'device'", "twice"),
        edit(CONFIG, "device: auto", "device: auto\ndevice: cpu"),
    ),
    Case(
        "settings",
        "an unknown key",
        LIST,
        (CONFIG, "'devise'", "did you mean 'device'"),
        edit(CONFIG, "device: auto", "device: auto\ndevise: cpu"),
    ),
    Case(
        "settings",
        "a missing key",
        LIST,
        (CONFIG, "'device'", "missing"),
        edit(CONFIG, "device: auto", ""),
    ),
    Case(
        "settings", "a key that is a number", LIST, (CONFIG, "'5'"), edit(CONFIG, "device:", "5: 6\ndevice:")
    ),
    Case(
        "settings",
        "a key that is a list",
        LIST,
        (CONFIG, "line", "key"),
        edit(CONFIG, "device:", "? [a]\n: b\ndevice:"),
    ),
    Case("settings", "a tab for spaces", LIST, (CONFIG, "line"), edit(CONFIG, "device:", "\tx: 1\ndevice:")),
    Case(
        "settings",
        "two documents",
        LIST,
        (CONFIG, "line", "single document"),
        edit(CONFIG, "device:", "---\ndevice:"),
    ),
    Case("settings", "nothing", LIST, (CONFIG, "object"), write(CONFIG, "")),
    Case("settings", "a list", LIST, (CONFIG, "object"), write(CONFIG, "- edition: demo\n")),
    Case("settings", "a text", LIST, (CONFIG, "object"), write(CONFIG, "demo\n")),
    Case(
        "settings", "Latin-1", LIST, (CONFIG, "UTF-8"), write(CONFIG, "edition: d\xe9mo\n".encode("latin-1"))
    ),
    Case("settings", "a NUL", LIST, (CONFIG, "character"), write(CONFIG, b"edition: demo\0\n")),
    Case(
        "settings",
        "half of UTF-16",
        LIST,
        (CONFIG,),
        recode(CONFIG, lambda old: old.decode().encode("utf-16")[:-1]),
    ),
    Case(
        "settings",
        "a laughing billion",
        LIST,
        (CONFIG, "aliases"),
        recode(CONFIG, lambda old: old + BOMB.encode()),
    ),
    Case(
        "settings",
        "a thousand brackets",
        LIST,
        (CONFIG, "nested"),
        recode(CONFIG, lambda old: old + b"x: " + b"[" * 100_000),
    ),
    Case(
        "settings",
        "a deep block",
        LIST,
        (CONFIG, "nested"),
        recode(CONFIG, lambda old: old + b"x:\n " + b"- " * 3_000),
    ),
    Case("settings", "no file", LIST, (CONFIG, "does not exist"), removed(CONFIG)),
    Case("settings", "a folder for a file", LIST, (CONFIG,), folder(CONFIG)),
    Case("settings", "a link in a circle", LIST, (CONFIG,), link_to_itself(CONFIG)),
    Case(
        "settings",
        "a number of five thousand digits",
        LIST,
        (CONFIG,),
        edit(CONFIG, "threads_per_job: 1", "threads_per_job: 1" + "0" * 5000),
    ),
]


def edition(name: str, text: str, *words: str) -> Case:
    """The edition mine with this content."""
    file = "config/editions/mine.yaml"
    command = ("census", "--edition", "mine", "--count")
    return Case("editions", name, command, (file, *words), write(file, text))


_FULL = "title: t\nrecords: trained\ndevice: cpu\nprecision: float64\n"
EDITIONS = [
    edition("extends nothing known", "extends: dmo\n", "extends", "did you mean 'demo'"),
    edition("extends itself", "extends: mine\n", "extends", "circle"),
    edition("extends a list", "extends: [demo]\n", "extends", "string"),
    edition("an unknown key", "extends: demo\nkind: {}\n", "'kind'", "did you mean 'kinds'"),
    edition("no title", "records: trained\n", "missing"),
    edition("records from nowhere", _FULL.replace("trained", "found"), "records", "trained, ingested"),
    edition("a device as a flag", _FULL.replace("cpu", "yes"), "device", "'yes'"),
    edition("a rule that is a list", "extends: demo\nkinds: {image: [1]}\n", "kinds.image", "object"),
    edition("an unknown kind", "extends: demo\nkinds: {sound: {}}\n", "kinds", "'sound'", "image, text"),
    edition(
        "a task with an unknown word",
        "extends: demo\nkinds: {image: {task: {batchsize: 3}}}\n",
        "kinds.image.task",
        "'batchsize'",
        "batch_size",
    ),
    edition(
        "a batch that is a text",
        "extends: demo\nkinds: {image: {task: {batch_size: many}}}\n",
        "kinds.image.task.batch_size",
        "integer",
    ),
    edition(
        "an empty batch",
        "extends: demo\nkinds: {image: {task: {batch_size: 0}}}\n",
        "batch_size",
        "at least 1",
    ),
    edition(
        "a network without a name",
        "extends: demo\nkinds: {image: {task: {model: {width: 2}}}}\n",
        "model",
        "'name'",
        "missing",
    ),
    edition(
        "a network that is a text",
        "extends: demo\nmodels: {resnet18_own: {task: {model: mlp}}}\n",
        "model",
        "object",
    ),
    edition(
        "a data set that is a number",
        "extends: demo\ndatasets: {cifar10: {task: {dataset: 3}}}\n",
        "dataset",
        "string",
    ),
    edition(
        "a rate factor of nothing",
        "extends: demo\nmodels: {resnet18_own: {lr_factor: 0}}\n",
        "lr_factor",
        "more than 0",
    ),
    edition(
        "a rate factor that is no number",
        "extends: demo\nmodels: {resnet18_own: {lr_factor: .nan}}\n",
        "line",
        "finite",
    ),
    edition(
        "hidden layers times an unknown option",
        "extends: demo\nmodels: {resnet18_own: {task: {model: {name: mlp, hidden: [4]}}, hidden_times: depth}}\n",
        "resnet18_own",
        "hidden_times",
        "'depth'",
    ),
    edition(
        "hidden layers times, but no hidden layers",
        "extends: demo\nmodels: {resnet18_own: {task: {model: {name: mlp}}, hidden_times: width}}\n",
        "resnet18_own",
        "hidden",
    ),
    edition(
        "steps renumbered to a text",
        "extends: demo\nrenumber: {value_period: {16: often}}\n",
        "renumber.value_period.16",
        "integer",
    ),
    edition("no epochs", "extends: demo\nepochs_per_segment: 0\n", "epochs_per_segment", "at least 1"),
    edition("a selection that is a number", "extends: demo\nselect: 5\n", "select"),
    edition("options without a trial", _FULL + "options: [max_steps]\n", "trial", "missing"),
    edition("an option that is none", "extends: demo\noptions: [min_steps]\n", "options"),
    edition("helpers that are a list", "extends: demo\nhelpers: [x]\n", "helpers", "object"),
    edition("a helper without runs", "extends: demo\nhelpers: {X: {title: t}}\n", "X", "'count'", "missing"),
    edition(
        "a helper with a name in use",
        "extends: demo\nhelpers: {A: {title: t, count: 1}}\n",
        "helpers.A",
        "already used",
    ),
    edition("a network called by a number", "extends: demo\nmodels: {5: {}}\n", "models", "5", "a name"),
    edition("nothing", "", "object"),
    edition("no UTF-8", "title: \udcff", "UTF-8"),
    Case(
        "editions",
        "a trial that is none",
        ("census", "--config", "edition=mine", "--config", "max_steps=1"),
        ("config/editions", "nowhere"),
        write("config/editions/mine.yaml", _FULL + "options: [max_steps]\ntrial: nowhere\n"),
    ),
]
EDITIONS[-2] = Case(
    "editions",
    "no UTF-8",
    ("census", "--edition", "mine"),
    ("config/editions/mine.yaml", "UTF-8"),
    write("config/editions/mine.yaml", b"title: \xff\n"),
)


def census(name: str, old: str, new: str, *words: str, file: str = CENSUS) -> Case:
    """A census file with one text replaced."""
    return Case("census", name, LIST, (file, *words), edit(file, old, new))


_LET = "let: {epochs: 2, milestones: [1], every: 1}"
_GRID = "{lambda: [0.1, 0.3], noise_rate: [0.4], seed: 0..1}"
_LADDER = "{ladder: {from: 0.4, to: 0.44, step: 0.02}, hold: 1}"
_DOUBLED = ", ".join(f'x{i}: "{{x{i + 1}}}{{x{i + 1}}}"' for i in range(40)) + ", x40: xx"
_PROTOCOLS = "config/census/protocols.yaml"
CENSUSES = [
    census("a count that is wrong", "count: 4", "count: 5", "A.count", "expected 5 runs", "4"),
    census("a count as a text", "count: 4", "count: '4'", "A.count", "integer"),
    census("a count below one", "count: 4", "count: 0", "A.count", "at least 1"),
    census("a count with a point", "count: 4", "count: 4.0", "A.count", "integer", "4.0"),
    census("no count", "count: 4\n", "\n", "experiments.A", "'count'", "missing"),
    census("a title that is a number", "title: A grid", "title: 7", "A.title", "string"),
    census("an unknown word", "factors:", "factor:", "experiments.A", "did you mean 'factors'"),
    census("an unknown protocol", "[base, fixed]", "[base, fixd]", "A.extends", "did you mean 'fixed'"),
    census("a protocol that is a number", "[base, fixed]", "[base, 3]", "A.extends", "string"),
    census("extends itself", "[base, fixed]", "[base, fixed, A]", "A.extends", "circle"),
    census("a name that is a path", "  Prep:", "  ../Prep:", "'../Prep'", "letters, digits"),
    census("a name that is a number", "  Prep:", "  5:", "experiments", "5", "letters, digits"),
    census("a name that is a flag", "  Prep:", "  true:", "experiments", "letters, digits"),
    census("a name twice", "  Prep:", "  A:", "line", "'A'", "twice"),
    census(
        "a run name that leaves the folder",
        _LET,
        _LET + '\n    name: "../../../{lambda}{noise_rate}{seed}"',
        "A.name",
        "'../../../",
    ),
    census("a run name that is hidden", _LET, _LET + '\n    name: ".{lambda}{noise_rate}{seed}"', "A.name"),
    census(
        "a run name with a newline", _LET, _LET + '\n    name: "a\\n{lambda}{noise_rate}{seed}"', "A.name"
    ),
    census(
        "a run name too long for a file",
        _LET,
        _LET + '\n    name: "' + "a" * 300 + '{lambda}{noise_rate}{seed}"',
        "A.name",
    ),
    census("a run name that is a number", _LET, _LET + "\n    name: 7", "A.name", "string"),
    census("run names that are equal", _LET, _LET + '\n    name: "{lambda}"', "A.name", "two runs"),
    census("λ above one", "[0.1, 0.3]", "[0.1, 1.3]", "A", "lambda", "1.3", "at most 1"),
    census("λ below zero", "[0.1, 0.3]", "[-0.1, 0.3]", "A", "lambda", "-0.1", "at least 0"),
    census("λ as a text", "[0.1, 0.3]", "[0.1, high]", "A", "lambda", "number", "'high'"),
    census("λ that is no number", "[0.1, 0.3]", "[0.1, .nan]", "line", "finite"),
    census("λ as a flag", "[0.1, 0.3]", "[0.1, true]", "A.factors.lambda", "True"),
    census("λ as a date", "[0.1, 0.3]", "[0.1, 2026-01-12]", "A", "lambda", "number"),
    census("a rate above one", "noise_rate: [0.4]", "noise_rate: [4]", "A", "rate", "4", "at most 1"),
    census("a rate below zero", "noise_rate: [0.4]", "noise_rate: [-0.4]", "A", "rate", "at least 0"),
    census("a rate as a text", "noise_rate: [0.4]", 'noise_rate: ["0.4"]', "A", "rate", "number", "'0.4'"),
    census("seeds as a difference", "seed: 0..1}", "seed: 0-1}", "A", "seed", "0..49"),
    census("a seed below zero", "seed: 0..1}", "seed: [-1, 1]}", "A", "seed", "at least 0"),
    census("a seed too large", "seed: 0..1}", "seed: [1, 99999999999]}", "A", "seed", "at most"),
    census("a seed with a point", "seed: 0..1}", "seed: [0.5, 1]}", "A", "seed", "integer"),
    census("ten billion seeds", "seed: 0..1}", "seed: 0..9999999999}", "A", "seed", "levels"),
    census("seeds backwards", "seed: 0..1}", "seed: 1..0}", "A", "seed", "0..49"),
    census(
        "a grid of a million million",
        _GRID,
        "{lambda: 0..9999, noise_rate: 0..9999, seed: 0..9999}",
        "A.count",
        "expected 4",
    ),
    census("a factor that is a number", "{lambda: [0.1", "{5: [0.1", "A.factors", "5", "letters"),
    census("a stage that is a number", "      sweep:\n", "      5:\n", "Sweep.stages", "5", "letters"),
    census("a value called by a number", "epochs: 2,", "7: 2,", "A.let", "7", "letters"),
    census("no stages", "[base, fixed]", "[base]", "A.stages", "missing", "fixed"),
    census("no task", "[base, fixed]", "[fixed]", "A"),
    census("λ beyond floats", "[0.1, 0.3]", "[0.1, 1" + "0" * 400 + "]", "A.factors.lambda", "number"),
    census("epochs beyond floats", "epochs: 2,", "epochs: 1" + "0" * 400 + ",", "A.stages", "epochs"),
    census("no levels", "lambda: [0.1, 0.3]", "lambda: []", "A.factors.lambda"),
    census("a level twice", "[0.1, 0.3]", "[0.1, 0.1]", "A", "lambda", "0.1"),
    census("levels within levels", "[0.1, 0.3]", "[[0.1], [0.3]]", "A.factors.lambda"),
    census("factors that are a list", f"factors: {_GRID}", "factors: [lambda]", "A.factors", "object"),
    census("epochs below one", "epochs: 2,", "epochs: 0,", "A.stages", "positive integer", "0"),
    census("epochs as a text", "epochs: 2,", "epochs: two,", "A.stages", "positive integer", "'two'"),
    census("epochs that never end", "epochs: 2,", "epochs: 999999999999,", "A.stages", "epochs", "at most"),
    census("milestones as a number", "milestones: [1]", "milestones: 1", "A", "milestones", "list"),
    census("a calendar of nothing", "every: 1}", "every: 0}", "A", "every", "at least 1"),
    census("a calendar as a text", "every: 1}", "every: often}", "A", "every", "integer"),
    census("a value that nothing uses", "every: 1}", "every: 1, spare: 2}", "A.let.spare", "changes no run"),
    census(
        "values in a circle",
        _LET,
        "let: {epochs: $every, every: $epochs, milestones: [1]}",
        "A.let",
        "circle",
    ),
    census(
        "a value that doubles for ever",
        _LET,
        f'let: {{epochs: 2, milestones: [1], every: 1, {_DOUBLED}}}\n    streams: {{group: "{{x0}}"}}',
        "A",
        "x",
        "characters",
    ),
    census("a reference to nothing", "epochs: 2,", "epochs: $epoch,", "A.stages", "'epoch'"),
    census(
        "arithmetic with a text",
        _LET,
        "let: {epochs: $word + 1, word: two, milestones: [1], every: 1}",
        "A",
        "word",
    ),
    census("a ladder that misses its end", "step: 0.02", "step: 0.03", "Sweep.stages", "no ladder leads"),
    census(
        "a ladder of steps beyond counting", "step: 0.02", "step: 1e-15", "Sweep.stages", "ladder", "at most"
    ),
    census(
        "a ladder without an end", "to: 0.44, ", "", "Sweep.stages.sweep.segments.ladder", "'to'", "missing"
    ),
    census(
        "a ladder above one", "from: 0.4, to: 0.44", "from: 1.4, to: 1.44", "Sweep", "lambda", "at most 1"
    ),
    census("a ladder of epochs beyond memory", "hold: 1}", "hold: 90000}", "Sweep.stages", "at most 100,000"),
    census("a hold of nothing", "hold: 1}", "hold: 0}", "Sweep.stages", "positive integer"),
    census("segments of no shape", _LADDER, "{hold: 3, epochs: 2}", "Sweep.stages", "shape"),
    census("segments as a text", _LADDER, "long", "Sweep.stages.sweep.segments"),
    census(
        "a start from nothing",
        '"Prep/seed{seed}"',
        '"Prp/seed{seed}"',
        "Sweep",
        "'Prp/seed0'",
        "did you mean 'Prep'",
    ),
    census("a start from a path", '"Prep/seed{seed}"', '"../Prep/seed{seed}"', "start"),
    census(
        "a start from itself",
        '"Prep/seed{seed}"',
        '"Sweep/seed{seed}", stage: sweep',
        "Sweep",
        "need each other",
    ),
    census(
        "a start from a stage that is none",
        '"Prep/seed{seed}"}',
        '"Prep/seed{seed}", stage: mian}',
        "'mian'",
        "did you mean 'main'",
    ),
    census(
        "a start of no kind", 'start: {run: "Prep/seed{seed}"}', "start: stale", "start", "fresh, continue"
    ),
    census("an evaluation that is nothing", "{at: segment_end}", "{}", "Sweep.stages.sweep.evaluate"),
    census(
        "an evaluation of two kinds",
        "{at: segment_end}",
        "{at: segment_end, every: 1}",
        "Sweep.stages.sweep.evaluate",
    ),
    census("a learning rate as a text", "lr: 0.001", "lr: slow", "Sweep.stages.sweep.lr", "number"),
    census("a learning rate below zero", "lr: 0.001", "lr: -0.001", "Sweep", "lr", "at least 0"),
    census("a method of no kind", _LET, _LET + "\n    method: triple", "A.method", "dual, ce, lossmix"),
    census(
        "a gate of no kind",
        "every: 1}\n  Prep",
        "every: 1}\n    stages: {main: {gate: {about: 0.3}}}\n  Prep",
        "gate",
        "'about'",
    ),
    Case(
        "census",
        "a network of no kind",
        LIST,
        ("'resnet19_own'", "did you mean 'resnet18_own'"),
        edit(CENSUS, "[base, fixed]", "[base, fixed]\n    task: {model: {name: resnet19_own}}"),
    ),
    Case(
        "census",
        "no batch",
        LIST,
        ("protocols.image.task.batch_size", "at least 1"),
        edit(_PROTOCOLS, "batch_size: 256", "batch_size: 0"),
    ),
    Case(
        "census",
        "a normalisation by a text",
        LIST,
        (CENSUS, "A.task", "std", "number", "'high'"),
        edit(_PROTOCOLS, "0.1994, 0.2010]", "0.1994, high]"),
    ),
    Case(
        "census",
        "a normalisation by nothing",
        LIST,
        (CENSUS, "A.task", "std", "at least"),
        edit(_PROTOCOLS, "0.1994, 0.2010]", "0.1994, 0]"),
    ),
    census(
        "defaults without stages",
        "  stage:\n    branch: null",
        "  stag:\n    branch: null",
        "defaults",
        file=_PROTOCOLS,
    ),
    census(
        "totals that do not add up",
        "all: 6",
        "all: 7",
        "totals.all",
        "expected 7",
        "6",
        file="config/census/totals.yaml",
    ),
    census(
        "totals as a text", "all: 6", "all: six", "totals.all", "integer", file="config/census/totals.yaml"
    ),
    census("a series that is a list", "series: A-Q", "series: [A-Q]", "series", "string"),
    census("no series", "series: A-Q\n", "", "series"),
    census("experiments that are a list", "experiments:\n", "experiments: [A]\nexperimets:\n"),
    census("a line out of place", "  Prep:", "   Prep:", "line"),
    Case(
        "census",
        "no file of totals",
        LIST,
        ("config/census/totals.yaml", "totals", "missing"),
        removed("config/census/totals.yaml"),
    ),
    Case(
        "census",
        "no protocols",
        LIST,
        ("config/census/protocols.yaml", "protocols", "missing"),
        removed(_PROTOCOLS),
    ),
    Case("census", "no census", LIST, ("config/census",), removed("config/census")),
    Case("census", "UTF-16", LIST, (CENSUS, "UTF-8"), recode(CENSUS, lambda old: b"\xff" + old)),
    Case(
        "census",
        "a picture",
        LIST,
        ("config/census/mine.yaml",),
        write("config/census/mine.yaml", b"\x89PNG\r\n\x1a\n\0\0"),
    ),
    Case(
        "census",
        "a bomb of aliases",
        LIST,
        ("config/census/mine.yaml", "aliases"),
        write("config/census/mine.yaml", BOMB),
    ),
    Case(
        "census",
        "an experiment called like another in other letters",
        LIST,
        ("config/census/mine.yaml", "experiments.a", "'A' in config/census/A-Q.yaml", "one folder"),
        write(
            "config/census/mine.yaml",
            "series: mine\nexperiments: {a: {title: t, count: 1, extends: fixed}}\n",
        ),
    ),
    Case(
        "census",
        "an experiment twice in two files",
        LIST,
        ("config/census/mine.yaml", "experiments.A", "already used"),
        write(
            "config/census/mine.yaml",
            "series: mine\nexperiments: {A: {title: t, count: 1, extends: fixed}}\n",
        ),
    ),
]


def network(name: str, model: str, *words: str) -> Case:
    """A network that its builder refuses: found when the run is trained."""
    trial = ("--config", "edition=paper", "--config", "paper_data=synthetic", "--config", "max_steps=1")
    change = edit(CENSUS, "[base, fixed]", f"[base, fixed]\n    task: {{model: {model}}}")
    return Case("networks", name, ("train", "A/lam0.1_eta0.4_seed0", *trial), ("task.model", *words), change)


NETWORKS = [
    network("of no name", "{name: resnet19_own}", "'resnet19_own'", "resnet18_own"),
    network("as wide as a word", "{name: resnet18_own, width: wide}", "'wide'"),
    network("without hidden layers", "{name: mlp}", "hidden", "missing"),
    network("with layers of no size", "{name: mlp, hidden: [-3]}", "-3"),
]


def typed(name: str, command: str | list[str], *words: str) -> Case:
    """A mistake on the command line."""
    return Case("command line", name, command.split() if isinstance(command, str) else command, words)


COMMANDS = [
    typed("no command of this name", "cencus", "'cencus'", "did you mean 'census'"),
    typed("an unknown option", "census --serie A", "--serie", "did you mean '--series'"),
    typed("an option without its value", "census --series", "--series", "requires an argument"),
    typed("an unknown experiment", "census Aa", "Aa", "no such experiment"),
    typed("an unknown series", "census --series Z", "--series", "A-Q"),
    typed("a condition without a level", "census --where lambda", "--where", "FACTOR=LEVEL"),
    typed("a condition on nothing", "census --where lamda=1", "lamda", "did you mean 'lambda'"),
    typed("a level that no run has", "census --where lambda=nan", "lambda=nan", "0.1, 0.3"),
    typed("a setting without a value", "census --config edition", "--config", "KEY=VALUE"),
    typed("an unknown setting", "census --config devise=cpu", "'devise'", "did you mean 'device'"),
    typed("a setting left open", "census --config device=[cpu", "--config", "device"),
    typed(
        "a setting that is Python",
        ["census", "--config", "device=!!python/name:os.system"],
        "--config",
        "device",
        "tag",
    ),
    typed(
        "a setting that is no number",
        "census --config compare_margin=.nan",
        "--config",
        "compare_margin",
        "finite",
    ),
    typed("a setting with a bomb", ["census", "--config", "compare=" + BOMB], "--config", "compare"),
    typed("an empty setting", ["census", "--config", "=demo"], "--config"),
    typed("an unknown edition", "census --edition dmeo", "edition", "did you mean 'demo'"),
    typed("an edition that is a path", "census --edition ../config", "edition", "expected one of"),
    typed("an edition of trials without a trial", "census --edition paper-trial", "edition", "max_steps"),
    typed("a root that is nowhere", ["census", "--root", "{root}/nowhere"], "nowhere", "does not exist"),
    typed("a root that is a file", ["census", "--root", "{root}/Snakefile"], "Snakefile", "folder"),
    typed("a run that is a path", "show ../../etc/passwd", "../../etc/passwd", "no such run"),
    typed("a run without an experiment", "show lam0.1_eta0.4_seed0", "no such run"),
    typed("a run that is nearly one", "show A/lam0.1_eta0.4_sed0", "did you mean 'A/lam0.1_eta0.4_seed0'"),
    typed("a run that is empty", ["show", ""], "run"),
    typed("a run with escapes", ["show", "\x1b[2J\x1b[31mA"], "no such run"),
    typed("a run with bytes that are no text", ["show", "A/\udcff\udcfe"], "no such run"),
    typed("a run of a hundred thousand letters", ["show", "A/" + "x" * 100_000], "no such run"),
    typed("training a run that is none", "train A/lam9", "A/lam9", "no such run"),
    typed(
        "training an edition that is not trained",
        "train A/lam0.1_eta0.4_seed0 --edition released",
        "released",
        "not trained",
    ),
    typed(
        "training into a folder", ["train", "Prep/seed0", "--output", "{root}/config"], "config", "directory"
    ),
    typed(
        "training below a file", ["train", "Prep/seed0", "--output", "{root}/Snakefile/x.json"], "Snakefile"
    ),
    typed("a sample below one", "verify --sample 0", "--sample", "positive number or 'all'"),
    typed("a sample that is a text", "verify --sample few", "--sample", "positive number or 'all'", "few"),
    typed("a seed that is a text", "verify --seed x", "--seed", "integer"),
    typed("verifying nothing", "verify B", "B", "no such experiment"),
    typed("a margin of two", "compare released demo --margin 2", "--margin", "between 0 and 1"),
    typed("a margin that is no number", "compare released demo --margin nan", "--margin", "between 0 and 1"),
    typed("one edition to compare", "compare demo", "compare", "two different editions"),
    typed("an edition with itself", "compare demo demo", "compare", "two different editions"),
    typed("an edition that is a path to compare", "compare demo ../x", "compare", "two different editions"),
    typed("an edition without tables", "compare demo paper", "paper", "no tables"),
    typed("a figure of no name", "figure Figure6 --output x.pdf", "Figure6", "did you mean"),
    typed("a figure without a file", "figure Figure1", "--output"),
    typed(
        "a figure as a text file",
        ["figure", "Figure1", "--output", "{root}/x.txt"],
        "x.txt",
        ".pdf, .png or .svg",
    ),
    typed(
        "a figure of tables that are elsewhere",
        ["figure", "Figure1", "--tables", "{root}/config", "--output", "x.pdf"],
        "config",
        "tables",
    ),
    typed(
        "a figure of tables that are not there",
        ["figure", "Figure1", "--output", "{root}/x.pdf"],
        "K/runs.parquet",
        "no such table",
    ),
    typed("a statistic of no name", "statistics boundary", "boundary", "did you mean 'boundaries'"),
    typed("a statistic without tables", "statistics boundaries", "no such table"),
    typed("tables of nothing", "tables", "experiments", "--merge"),
    typed("tables of an unknown experiment", "tables Q", "Q", "no such experiment"),
    typed("tables of two into one", "tables A Prep --output x", "--output", "one experiment"),
    typed("tables into a file", ["tables", "A", "--output", "{root}/Snakefile"], "Snakefile"),
    typed(
        "records that are nowhere",
        ["tables", "A", "--records", "{root}/nowhere"],
        "nowhere",
        "no such record",
    ),
    typed("a claim of no name", "claims bst", "bst", "did you mean 'best'"),
    typed("a topic of no name", "claims --topic error", "--topic", "did you mean 'errors'"),
    typed("a verdict of no name", "claims --verdict wrong", "--verdict", "reproduced"),
    typed("claims of no tables", ["claims", "--tables", "{root}/nowhere"], "nowhere", "no such table"),
    typed("a data set of no name", "data cifar", "cifar", "did you mean"),
    typed("a data set from nowhere", ["data", "cifar10", "--from", "{root}/nowhere"], "nowhere", "--from"),
    typed(
        "a data set from a folder without it",
        ["data", "cifar10", "--from", "{root}/config"],
        "config",
        "cifar-10-python.tar.gz",
    ),
    typed("a data set that is not here", "data sst2 --offline", "SST-2.zip", "missing"),
    typed("an archive that is nowhere", ["ingest", "--archive", "{root}/nowhere"], "nowhere", "results"),
    typed("an archive without results", ["ingest", "--archive", "{root}/config"], "config", "results"),
    typed("ingesting an experiment that is none", "ingest Aa", "Aa", "no such experiment"),
    typed("ingesting an experiment that was not published", "ingest Prep", "Prep", "mapping"),
    typed("a shell of no kind", "completion csh", "csh", "bash"),
    typed("cards of nothing", "cards Z9", "Z9", "no such experiment"),
    typed("an explorer into a folder", ["explorer", "--output", "{root}/config"], "config"),
]
