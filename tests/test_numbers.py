"""Measured numbers in README, docs and pages: generated, in step with what is measured, and nowhere typed by hand."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import validate

from dualgrad import sentences as s
from dualgrad.claims.load import ClaimsError, load_ledger
from dualgrad.cli import main
from dualgrad.figures import build
from dualgrad.figures.captions import CAPTIONS
from dualgrad.figures.sources import FIGURE_EXPERIMENTS
from dualgrad.report.build import has_oracle

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = yaml.safe_load((ROOT / "src/dualgrad/schemas/bench.schema.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ledger(census):
    return load_ledger(ROOT, census.experiments)


@pytest.fixture(scope="module")
def sentences(ledger, census) -> s.Sentences:
    return s.load_sentences(ROOT, ledger, census.experiments)


def test_a_ledger_that_was_read_is_kept_for_its_file_and_experiments_alone(ledger, census) -> None:
    """Of another file's content: tests/test_claims.py reads damaged ones after the whole one."""
    assert load_ledger(ROOT, list(census.experiments)) is ledger
    with pytest.raises(ClaimsError, match="no experiment"):
        load_ledger(ROOT, ["A"])


# ------------------------------------------------------------------------------------------------- in step


def test_documents_hold_what_is_kept(sentences) -> None:
    values = s.values_of(sentences, ROOT)
    for document, passages in sentences.passages.items():
        text = (ROOT / document).read_text(encoding="utf-8")
        assert s.document_with(text, document, passages, values) == text, (
            f"{document}: run dualgrad numbers --fix"
        )


def test_every_fact_is_quoted_and_nothing_else_is_kept(sentences) -> None:
    quoted = sentences.quoted()
    for owner, facts in sentences.facts.items():
        forms = [form for form, whose in s.FORMS.items() if whose == owner]
        assert set(facts) == set().union(*(quoted[form] for form in forms)), owner
    for form in s.KEPT:
        assert set(s.read_numbers(ROOT, form)) == quoted[form], form
    benchmarks = {path.stem for path in (ROOT / s.BENCHMARKS).glob("*.json")}
    assert benchmarks == {fact["file"] for fact in sentences.facts["bench"].values()}


@pytest.mark.parametrize("path", sorted((ROOT / s.BENCHMARKS).glob("*.json")), ids=lambda path: path.stem)
def test_what_benchmarks_gave_is_of_a_clean_commit(path) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    validate(report, SCHEMA)
    assert report["code"]["commit"] and report["code"]["changed"] is False


def test_the_plan_says_so(sentences) -> None:
    assert s.plan(sentences, ROOT) == s.read_numbers(ROOT, "plan")


def test_the_demo_trains_to_the_kept_errors(sentences, workspace, capsys) -> None:
    """Three runs of the miniature, trained here: their mean is the kept one, but for what platforms differ in."""
    errors = []
    for seed in range(3):
        assert (
            main(["train", f"A/lam0.1_eta0.4_seed{seed}", "--root", str(workspace), "--edition", "demo"]) == 0
        )
        errors.append(float(re.search(r"test error ([\d.]+)", capsys.readouterr().out)[1]))
    assert sum(errors) / 3 == pytest.approx(s.read_numbers(ROOT, "demo")["low"][0], abs=0.004)


# ------------------------------------------------------------------------------------------------- the command


def test_a_number_out_of_step_is_found_and_mended(workspace, capsys) -> None:
    for name in ("docs", "README.md"):
        source = ROOT / name
        target = workspace / name
        if source.is_dir():
            target.mkdir(exist_ok=True)
            for path in [*source.glob("*.md"), *source.glob("numbers/*"), *source.glob("performance/*")]:
                place = workspace / path.relative_to(ROOT)
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(path.read_bytes())
        else:
            target.write_bytes(source.read_bytes())
    words = ["numbers", "--root", str(workspace)]
    assert main(words) == 0 and not capsys.readouterr().err
    readme = workspace / "README.md"
    right = readme.read_text(encoding="utf-8")
    wrong = right.replace("377 ×", "450 ×")
    assert wrong != right
    readme.write_text(wrong, encoding="utf-8")
    assert main(words) == 1 and "README.md: out of step" in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == wrong
    assert main([*words, "--fix"]) == 0
    assert readme.read_text(encoding="utf-8") == right
    readme.write_text(right.replace("<!-- numbers demo -->\n", ""), encoding="utf-8")
    assert main(words) == 2 and "'<!-- numbers demo -->'" in capsys.readouterr().err
    readme.write_text(right, encoding="utf-8")
    (workspace / s.FOLDER / "demo.json").unlink()
    assert main(words) == 2 and "make it: dualgrad numbers demo --fix" in capsys.readouterr().err
    assert main([*words, "demmo"]) == 2 and "did you mean 'demo'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{demo.low[0]:.3f}", "{demo.lows[0]:.3f}"), "demo has no fact 'lows'; did you mean 'low'?"),
        (
            ("{demo.low[0]:.3f}", "{demmo.low[0]:.3f}"),
            "expected one of demo, released, complete, plan, bench, controls",
        ),
        (("{demo.low[0]:.3f}", "{demo.low[0]:.3q}"), "cannot be written"),
        (("experiments: [X1d]", "experiments: [X1dd]"), "no experiment 'X1dd'"),
        (("  demo:\n    low:", "  demmo:\n    low:"), "no such edition; did you mean 'demo'?"),
        (("passages:\n", "passage:\n"), "expected measures by name (facts), and passages by document"),
    ],
)
def test_a_slip_is_refused_with_its_place(workspace, ledger, census, change, message) -> None:
    text = (ROOT / s.FILE).read_text(encoding="utf-8")
    assert change[0] in text
    path = workspace / s.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(Exception, match=re.escape(message)):
        s.load_sentences(workspace, ledger, census.experiments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "againts"}, "there is no such file; did you mean 'against'?"),
        ({"result": "a step of A/"}, "expected one result whose 'what' begins so; found 0"),
        ({"give": ["values.our.median"]}, "there is no 'our'; did you mean 'ours'?"),
    ],
)
def test_a_slip_about_a_benchmark_is_refused_with_its_place(sentences, change, message) -> None:
    facts = {**sentences.facts["bench"], "against_mlp": {**sentences.facts["bench"]["against_mlp"], **change}}
    with pytest.raises(s.SentencesError, match=re.escape(message)):
        s.values_of(dataclasses.replace(sentences, facts={**sentences.facts, "bench": facts}), ROOT)


# ------------------------------------------------------------------------------------------------- typed by hand

_NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
# What a result looks like: a decimal, a percentage, so many of so many, so many times, so many points.
_MEASURED = re.compile(
    "|".join(
        [
            rf"(?<![\w.]){_NUMBER} ?%",
            r"(?<![\w./-])[-+−]?(?:\d+\.\d+|\.\d+)(?![\w.]*\w)",
            r"(?<![\w.])\d[\d,]* (?:of|from) (?:the |its |those )?\d[\d,]*",
            rf"(?<![\w.]){_NUMBER} ?(?:×|times\b)",
            rf"(?<![\w.]){_NUMBER} (?:percentage )?points",
        ]
    )
)
# A condition, not a result: λ, η, ρ and K are set.
_CONDITION = re.compile(r"[ληρ]\s*[=≥≤<>→]?\s*(?:[\d.]+(?: to | and |, |/| → )?)*$")
# What a machine takes is measured by `dualgrad bench` and told in docs/performance.md.
_OF_A_MACHINE = re.compile(r" ?(?:GB|MB|GiB|MiB|KiB|ms|s\b|min|seconds?|minutes?|hours?|h\b)")

#: Numbers that no measure and no setting backs, and what they are.
ALLOWED = {
    "README.md": {"3.11": "a version", "3.13": "a version", "2.5": "a version"},
    "CONTRIBUTING.md": dict.fromkeys(("3.11", "3.13", "3.14", "2.28", "1.9"), "a version"),
    "CHANGELOG.md": {"1.2": "a version"},
    "docs/cluster.md": {
        "22.05": "a version",
        "2.8": "a version",
        "1.2": "a version",
        "10,000 times": "a setting of the profile",
    },
    "config/README.md": {"3×": "a size"},
    "docs/demo.md": {
        "8×": "a size",
        "2.5": "a version",
        "0.225": "0.1 times the factor of the edition",
        "0.00225": "0.001 times the factor of the edition",
        "80 times": "the factor of the edition",
        "16 times": "the factor of the edition",
    },
    "docs/fidelity.md": {
        "1 %": "a setting of D1 and V2",
        "0.16": "follows from V1's counts of labels",
        "7×": "a size",
        "4 ×": "a size",
        "0.9191": "a published constant",
        "0.8483": "a published constant",
        "0.7924": "a published constant",
    },
    "docs/statistics.md": {
        "1.5": "a definition",
        "95 %": "the level of all intervals",
        "80 %": "the power that detectable effects are given for",
        "12 %": "a property of the sigmoid",
        "88 %": "a property of the sigmoid",
        "0.025": "half of one minus the level",
    },
}
# Written by programs from data.
GENERATED = {"protocols.md", "controls.md", "replication.md"}
# Where what a machine takes counts as measured, too; and what else would be a result there.
OF_MACHINES = "docs/performance.md"
_TAKEN = re.compile(rf"(?<![\w.–-]){_NUMBER} ?(?:GiB|MiB|ms|s|min|minutes|seconds|h|hours|GFLOP/s)\b")


def settings() -> set[float]:
    """All numbers of census, editions and settings, also as percentages."""
    found: set[float] = set()

    def collect(value) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                collect(key)
                collect(one)
        elif isinstance(value, list):
            for one in value:
                collect(one)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.add(float(value))
        elif isinstance(value, str):
            found.update(map(float, re.findall(r"\d+\.\d+|\.\d+|\d+", value)))

    folders = (ROOT / "config" / "census", ROOT / "config" / "editions")
    for path in [
        *(path for folder in folders for path in folder.glob("*.yaml")),
        ROOT / "config/config.yaml",
    ]:
        collect(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found


def typed(text: str, known: set[float], machines: bool = False) -> list[str]:
    """Numbers of a text that look measured and that no setting gives; ``machines``: those of machines as well."""
    found = []
    for match in _MEASURED.finditer(text):
        if _CONDITION.search(text[max(0, match.start() - 40) : match.start()]):
            continue
        if _OF_A_MACHINE.match(text, match.end()):
            continue
        token = " ".join(match[0].split())
        if re.fullmatch(r"[-+−]?[\d,]*\.\d+", token) and float(token.lstrip("-+−").replace(",", "")) in known:
            continue
        found.append(token)
    return found + [match[0] for match in _TAKEN.finditer(text) if machines]


def prose(text: str) -> str:
    """A document without what is generated, code, addresses, and citations of the specification."""
    text = s.without_passages(text)
    for pattern in (r"^```.*?^```", r"^    .*$"):
        text = re.sub(pattern, "", text, flags=re.MULTILINE | re.DOTALL if "```" in pattern else re.MULTILINE)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", "]", text)
    return re.sub(r"\[+(?:A-G|I-P|Q-R|S-T|Td-W|X-Y)[^\]]*\]+", "", text)


def test_no_measured_number_is_typed_in_a_document() -> None:
    known, wrong = settings(), {}
    documents = [*("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")]
    documents += [
        f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in GENERATED
    ]
    for document in documents:
        found = typed(prose((ROOT / document).read_text(encoding="utf-8")), known, document == OF_MACHINES)
        rest = [token for token in found if token not in ALLOWED.get(document, {})]
        if rest:
            wrong[document] = rest
        assert not ALLOWED.get(document, {}).keys() - set(found), (
            f"{document}: the list allows what is not there"
        )
    assert not wrong, "measured numbers belong into docs/numbers/sentences.yaml"


def test_no_measured_number_is_typed_in_a_caption_or_page() -> None:
    known = settings()
    texts = {
        name: " ".join([one.title, *one.panels.values(), one.note, one.spread])
        for name, one in CAPTIONS.items()
    }
    texts |= {f"note of {name}": build.module(name).AUDIT_NOTE for name in FIGURE_EXPERIMENTS}
    markup = re.compile(r"<(script|style|svg)\b.*?</\1>|<[^>]+>|\{\{.*?\}\}|``[^`]*``", re.DOTALL)
    for path in [*(ROOT / "workflow/report").glob("*.rst"), *(ROOT / "src/dualgrad").rglob("*.html")]:
        texts[path.name] = markup.sub(" ", path.read_text(encoding="utf-8"))
    assert {name: found for name, text in texts.items() if (found := typed(text, known))} == {}


#: Criteria that functions set and not the ledger: when a trap counts as left, and the level of intervals.
CRITERIA = {85.0, 95.0}


def test_no_measured_number_is_typed_in_a_conclusion(ledger) -> None:
    """Numbers of a conclusion's prose are filled in, printed by its claims, or criteria of its own measures."""
    printed = {
        claim.id: json.dumps([claim.printed, claim.says], ensure_ascii=False) for claim in ledger.claims
    }
    known, wrong = settings(), []
    figure = re.compile(r"\d[\d,]*\.\d+|\.\d+|\d[\d,]*\d|\d")
    for one in ledger.conclusions:
        backing = " ".join([json.dumps(one.values), *(printed[name] for name in one.claims), one.title])
        numbers = {float(token.replace(",", "")) for token in figure.findall(backing)}
        numbers |= {100 * number for number in numbers | known} | known | CRITERIA
        for text in (one.text, *one.optional):
            for token in typed(re.sub(r"\{[^}]*\}", "", text), known):
                values = [float(value.replace(",", "")) for value in figure.findall(token)]
                if not all(any(abs(value - number) < 1e-9 for number in numbers) for value in values):
                    wrong.append(f"{one.title}: {token}")
    assert not wrong


def test_the_search_finds_what_it_is_for() -> None:
    text = (
        "D = 0.0144, 12 of 14 grids, 450 × (M2), 45±16 points, 71 % and 38.4%; λ = .50 and η = 0.4 take 4.5 s"
    )
    assert typed(text, set()) == ["0.0144", "12 of 14", "450 ×", "16 points", "71 %", "38.4%"]
    assert typed("momentum 0.9", {0.9}) == []
    assert typed("takes 4.5 s of 27 minutes", set(), machines=True) == ["4.5 s", "27 minutes"]


def test_the_readme_counts_the_census_right(census) -> None:
    """Runs by kind of task and by where the value labels come from, as its first lines say."""
    counted = [run for run in census.runs.values() if run["counted"]]
    mixed = [run["value"] for run in counted if run["method"] in ("dual", "lossmix")]
    trusted = sum(value["labels"] in ("trusted", "trusted_batches") for value in mixed)
    # A direction made up at an angle to the structure gradient asks for no label.
    oracle = sum(
        value["labels"] == "clean" and (value["synthetic"] or {}).get("about") != "struct" for value in mixed
    )
    assert sum(has_oracle(run) for run in counted) == oracle  # what the report says
    kinds = {kind: sum(run["task"]["kind"] == kind for run in counted) for kind in ("image", "text")}
    experiments = sum(one["counted"] for one in census.experiments.values())
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").partition("## Two commands")[0].split())
    for said in (
        f"the whole published census of {len(counted):,} training runs",
        f"in {experiments} experiments on pictures ({kinds['image']:,} runs) and text ({kinds['text']})",
        f"In {oracle:,} runs the trusted labels are the true labels of the whole batch",
        f"{trusted}, of which {kinds['text']} are of text, have a trusted subset",
    ):
        assert said in text, said
