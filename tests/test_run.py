"""The models of a run: they fit the whole census, know every key, and refuse what could not be trained as written."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hostile import small

from dualgrad import strict_json
from dualgrad.bench.synthetic import synthetic_run
from dualgrad.census import CensusError, load_census, reference
from dualgrad.census import stages as words
from dualgrad.census.networks import BuiltIn
from dualgrad.census.part import Part, keys_of
from dualgrad.census.run import Run, Stage, UnfitRun, read
from dualgrad.records import definition

ROOT = Path(__file__).parents[1]
EDITIONS = ("paper", "demo", "smoke")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The real protocols, editions and data sets with six runs: a new entry is read beside few others."""
    small.write_words(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def editions() -> dict[str, dict[str, dict]]:
    """The runs of each edition, as records hold them."""
    return {
        name: {target: definition(run) for target, run in load_census(ROOT, {"edition": name}).runs.items()}
        for name in EDITIONS
    }


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_run_is_what_its_dict_says(editions, edition):
    for target, run in editions[edition].items():
        assert read(run).plain() == run, target


def test_defaults_are_written_once():
    """What the census says of defaults is what the models do."""
    given = yaml.safe_load((ROOT / "config" / "census" / "protocols.yaml").read_text())["defaults"]
    for model, written in ((Run, given["run"]), (Stage, given["stage"])):
        for key, value in written.items():
            field = next(
                (one for name, one in model.model_fields.items() if (one.alias or name) == key), None
            )
            if field is None or field.is_required() or key in ("seed", "start", "schedule", "session"):
                continue  # references, and short forms
            known = field.get_default(call_default_factory=True)
            known = known.plain() if isinstance(known, Part) else known
            assert value == (list(known) if isinstance(known, tuple) else known), key


def test_every_part_of_a_run_has_a_table_of_keys():
    def parts(model: type[Part]) -> set[type[Part]]:
        below = {
            one
            for name, field in model.model_fields.items()
            if (field.alias or name) not in reference._NOT_WRITTEN
            for one in reference._classes(field.annotation)
        }
        return {model}.union(*map(parts, below))

    shown = {one for _, annotation in reference._PARTS for one in reference._classes(annotation)}
    assert {one.__name__ for one in parts(Run) - shown} == set()
    assert "| `checkpoint`: Weights of another run. | `run` | text | – | that run |" in reference.key_tables()


def test_generated_files_are_what_the_models_say():
    for path, text in reference.generated(ROOT).items():
        assert path.read_text() == text, f"{path}: python -m dualgrad.census.reference --fix"


# --- misspelt keys -------------------------------------------------------------------------------------------


def subclasses(model: type) -> Iterator[type]:
    for one in model.__subclasses__():
        yield one
        yield from subclasses(one)


def parts_of(value: Any, place: tuple = ()) -> Iterator[tuple[type, tuple]]:
    """Every part of a run with the place where its dict has it."""
    if isinstance(value, Part):
        yield type(value), place
        for name, field in type(value).model_fields.items():
            yield from parts_of(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            yield from parts_of(one, (*place, number))


LISTED = {"labels": "trusted", "sign": 1, "period": 16, "trusted": {"path": "trusted.npy"}}
OWN = (
    {"method": {"aggregator": "UPGrad"}},
    {"noise": {"kind": "file", "path": "labels.csv", "column": "label"}, "value": LISTED},
)
# Networks that no published run has: the demo's are in its edition.
# An imported network's options are its own.
MODELS = [
    one
    for one in subclasses(Part)
    if not one.__name__.startswith("_") and one.__name__ not in ("Network", "Imported")
]


@pytest.fixture(scope="module")
def examples(editions) -> dict[str, tuple[dict, tuple]]:
    """For each model, a run that has it, and where."""
    found: dict[str, tuple[dict, tuple]] = {}
    for runs in editions.values():
        for run in runs.values():
            for model, place in parts_of(read(run)):
                found.setdefault(model.__name__, (run, place))
    sizes = load_census(ROOT, {"edition": "paper", "paper_data": "synthetic"}).runs["A/lam0.1_eta0.4_seed0"]
    published = definition(sizes)
    # What runs of one's own may have, and no published one has.
    for own in (published, *(published | change for change in OWN)):
        for model, place in parts_of(read(own)):
            found.setdefault(model.__name__, (own, place))
    return found


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_misspelt_key_is_refused_wherever_it_stands(examples, model):
    assert model.__name__ in examples, "a model that no run of any edition has"
    run, place = examples[model.__name__]
    run = copy.deepcopy(run)
    part: Any = run
    for step in place:
        part = part[step]
    key = max(keys_of(model), key=len)
    part[key[:-2] + key[-1] + key[-2]] = 1  # the last two letters in the other order
    with pytest.raises(UnfitRun, match="unknown key") as caught:
        read(run)
    message = str(caught.value)
    assert f"did you mean '{key}'" in message and "(known: " in message and "\n" not in message
    for step in (one for one in place if isinstance(one, str)):
        assert step in caught.value.key


@pytest.mark.parametrize("model", get_args(get_args(BuiltIn)[0]), ids=lambda model: model.__name__)
def test_a_misspelt_option_of_a_network_is_refused_by_the_census(workspace, model):
    """In an entry, where the schema sees it, and as a reference's value, which only the models see."""
    (name,) = get_args(model.model_fields["name"].annotation)
    kind = "text-fixed" if model.inputs_kind == "text" else "fixed"
    base = [kind] if kind == "text-fixed" else ["base", "fixed"]
    for options in ({"name": name, "widht": 2.0}, "$net"):
        let = {"noise_rate": 0.4, "lambda": 0.3, "epochs": 2, "net": {"name": name, "widht": 2.0}}
        if options != "$net":
            del let["net"]
        if kind == "fixed":
            del let["epochs"]
        entry = {"title": "t", "count": 1, "extends": base, "factors": {"seed": 0}, "let": let,
                 "name": "seed{seed}", "task": {"model": options}}  # fmt: skip
        path = workspace / "config" / "census" / "mine.yaml"
        path.write_text(yaml.safe_dump({"series": "mine", "experiments": {"mine": entry}}))
        with pytest.raises(CensusError, match=r"mine.yaml: experiments.mine.task.model: unknown key 'widht'"):
            load_census(workspace, {"edition": "demo"})


# --- what could not be trained as it is written --------------------------------------------------------------

IMAGE, TEXT, STAIRS = "A/lam0.1_eta0.4_seed0", "X1/lam0.1_seed0", "T1a/seed0"
TRUSTED, TRAP = "D3/trusted0.1_lam0.2_eta0.45_seed0", "Td2/trap1"
SIDES, ESCAPE, FITTED = "V1/seed0", "Td2/trap1_baseline", "J/lr-matched_lam0.2_eta0.4_seed1"


@pytest.mark.parametrize(
    ("target", "place", "value", "expected"),
    [
        (SIDES, "noise.map", [[0, 0]], "two different classes"),
        (SIDES, "noise.map", [], "at least 1 item"),
        (SIDES, "noise.map", [[-1, 0]], "at least 0"),
        (SIDES, "noise.map", [[3, 10]], "classes below 10"),
        (SIDES, "noise.map", [["<b>", 0]], "an integer"),
        (SIDES, "noise.map", [[1, 2], [1, 3]], "mapped twice"),
        (IMAGE, "noise.map", [[1, 2]], "unknown key 'map'"),
        (IMAGE, "noise.rate", 1.5, "at most 1"),
        (IMAGE, "noise.rate", float("inf"), "finite"),
        (IMAGE, "noise.seed", 3, "either seed or seed_offset"),
        (TRUSTED, "value.trusted.ratio", 0, "more than 0"),
        (TRUSTED, "value.trusted.ratio", 1.2, "at most 1"),
        (TRUSTED, "value.trusted", None, "labels is trusted"),
        (IMAGE, "value.labels", "trusted", "needed"),
        (IMAGE, "value.labels", "random", "needed"),
        (IMAGE, "value.trusted", {"ratio": 0.1}, "nothing would use it"),
        (IMAGE, "task.subset", 100, "text_pool"),
        (IMAGE, "task.max_length", 10, "for text"),
        (IMAGE, "task.model", {"name": "mlp", "hidden": [0]}, "at least 1"),
        (IMAGE, "task.model", {"name": "mlp", "hidden": []}, "at least 1 item"),
        (IMAGE, "task.model", {"name": "resnet18_own", "width": 0.001}, "one channel"),
        (IMAGE, "task.model", {"name": "resnet18_onw"}, "did you mean 'resnet18_own'"),
        (IMAGE, "task.model", {"name": "textcnn"}, "for text, not for image"),
        (IMAGE, "task.model", {"width": 2.0}, "missing"),
        (TEXT, "task.model", {"name": "distilbert_mini", "dim": 8, "heads": 3}, "divisor of dim"),
        (TEXT, "task.model", {"name": "distilbert_mini", "max_position": 8}, "max_position 8"),
        (TEXT, "value.labels", "trusted", "clean or trusted_batches"),
        (IMAGE, "optimizer.momentum", 9, "at most 1"),
        (TEXT, "optimizer.momentum", 0.9, "unknown key 'momentum'"),
        (IMAGE, "lr_scale", -1, "more than 0"),
        (FITTED, "lr_scale.field", 3, "a text"),
        (IMAGE, "seed", None, "no other run that has one"),
        (IMAGE, "seed", True, "an integer"),
        (IMAGE, "prefix_epochs", 3, "for copies"),
        (IMAGE, "outcome", "loop", "up and down"),
        (IMAGE, "outcome", "survival", "stop rule"),
        (IMAGE, "outcome", "branches", "both branches"),
        (IMAGE, "outcome", "escape", "'escaped'"),
        (IMAGE, "thresholds", {"escaped": 0.3}, "no first error"),
        (IMAGE, "thresholds", {"good": 30}, "at most 1"),
        (TRAP, "stages.0.start.index", 10, "number of candidates, 10"),
        (TRAP, "stages.0.start.max", 0.5, "more than min"),
        (ESCAPE, "stages.0.lr", -0.1, "at least 0"),
        (IMAGE, "stages.0.gate", {"on_fail": "warn"}, "max, below or min"),
        (IMAGE, "stages.0.gate", {"min": 0.5, "max": 0.3}, "no error passes"),
        (IMAGE, "stages.0.segments", [], "needs a stage with segments"),
        (IMAGE, "stages.0.segments.0.lambda", 1.1, "at most 1"),
        (IMAGE, "stages.0.segments.0.steps", 3, "either epochs or steps"),
        (IMAGE, "stages.0.schedule.milestones", [75, 50], "ascending"),
        (IMAGE, "stages.0.schedule", None, "expected one"),
        (STAIRS, "stages.1.evaluate", {"every": 5}, "every: 1"),
        (STAIRS, "stages.1.name", "init", "names that differ"),
        (IMAGE, "renormalize", 1, "true or false"),
        (IMAGE, "method", "lossmx", "did you mean 'lossmix'"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(editions, target, place, value, expected):
    run = copy.deepcopy(editions["paper"][target])
    part: Any = run
    *path, last = [int(word) if word.isdigit() else word for word in place.split(".")]
    for step in path:
        part = part[step]
    part[last] = value
    with pytest.raises(UnfitRun) as caught:
        read(run)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["fresh", "continue"])
def test_a_gate_needs_an_evaluation(editions, kind):
    run = copy.deepcopy(editions["paper"]["Y2k3/seed0"])
    run["stages"][1] |= {"segments": [], "gate": {"max": 0.3, "on_fail": "stop"}, "start": {"kind": kind}}
    run["stages"][1]["schedule"] = None if kind == "continue" else {"kind": "constant"}
    with pytest.raises(UnfitRun, match=r"stages.phase2_damage.gate: the stage has no evaluation"):
        read(run)


def test_methods_take_no_settings_that_they_ignore(editions):
    run = {**copy.deepcopy(editions["paper"][IMAGE]), "method": "ce"}
    read(run)
    for change in ({"renormalize": True}, {"log": {**run["log"], "first_steps": 5}}):
        with pytest.raises(UnfitRun, match="has no meaning with method ce"):
            read(run | change)


def test_numbers_without_end_are_refused_in_json_as_in_yaml():
    for text in (b'{"a": 1e400}', b"[-1e999]", b"NaN"):
        with pytest.raises(ValueError, match="number is expected"):
            strict_json.loads(text)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"extends": ["base", "fixed", "trusted"], "let": {"clean_ratio": 1.0e-6, "trusted_offset": 0}},
         r"mine.value.trusted.ratio: 'mine/seed0': expected at least one of 50,000 examples"),
        ({"task": {"batch_size": 60_000}}, r"mine.task.batch_size: .*no batch of 60,000 is left of 50,000"),
        ({"task": {"classes": 20}}, r"mine.task.classes: .*says 20, but the data set cifar10 has 10"),
        ({"lr_scale": {"run": "A/lam0.1_eta0.4_seed0", "field": "avg_gmix_nrm"}},
         r"mine.lr_scale.field: .*does not measure 'avg_gmix_nrm'.*did you mean 'avg_gmix_norm'"),
        ({"extends": "text-fixed", "let": {"epochs": 1}, "task": {"subset": 67_000}},
         r"mine.task.subset: .*expected at most the pool of"),
    ],
)  # fmt: skip
def test_a_run_asks_for_no_more_than_there_is(workspace, change, expected):
    entry = {
        "title": "t",
        "count": 1,
        "extends": ["base", "fixed"],
        "factors": {"seed": 0},
        "name": "seed{seed}",
    }
    entry |= change
    entry["let"] = {"noise_rate": 0.4, "lambda": 0.3, **change.get("let", {})}
    (workspace / "config" / "census" / "mine.yaml").write_text(
        yaml.safe_dump({"series": "mine", "experiments": {"mine": entry}})
    )
    with pytest.raises(CensusError, match=expected):
        load_census(workspace, {"edition": "paper"})


def test_a_run_of_a_benchmark_is_a_run():
    run = synthetic_run("resnet18", 8, 16, 4, "float32")
    assert read(run.plain()) == run and run.task.model.plain() == {"name": "resnet18_own"}


# --- names ---------------------------------------------------------------------------------------------------


def test_numbers_in_names_keep_what_tells_them_apart():
    assert [words.spell(value) for value in (1234567, 12345678, 0, 3)] == ["1234567", "12345678", "0", "3"]
    assert [words.spell(value) for value in (0.10, 2.0, 0.45, 0.001)] == ["0.1", "2", "0.45", "0.001"]
    assert words.spell(0.12345678) == "0.12345678" != words.spell(0.12345679)


def test_large_seeds_do_not_collide(workspace):
    entry = {"title": "t", "count": 2, "extends": "A", "factors": {"lambda": 0.3, "noise_rate": 0.4,
             "seed": [1234567, 1234568]}}  # fmt: skip
    (workspace / "config" / "census" / "mine.yaml").write_text(
        yaml.safe_dump({"series": "mine", "experiments": {"mine": entry}})
    )
    runs = load_census(workspace, {"edition": "paper"}).experiments["mine"]["runs"]
    assert runs == ["mine/lam0.3_eta0.4_seed1234567", "mine/lam0.3_eta0.4_seed1234568"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"title": "red \x1b[31m"}, "title"),
        ({"title": "two\nlines"}, "title"),
        ({"title": "turned \u202e round"}, "title"),
        ({"series": "mine\n"}, "series"),
    ],
)
def test_texts_that_are_printed_hold_no_control_characters(workspace, change, key):
    entry = {
        "title": "t",
        "count": 1,
        "extends": "A",
        "factors": {"lambda": 0.3, "noise_rate": 0.4, "seed": 9},
    }
    (workspace / "config" / "census" / "mine.yaml").write_text(
        yaml.safe_dump({"series": "mine", "experiments": {"mine": entry | change}}, allow_unicode=False)
    )
    with pytest.raises(CensusError, match=f"experiments.mine.{key}: ") as caught:
        load_census(workspace, {"edition": "paper"})
    assert str(caught.value).isprintable()
