"""Sentences of README and docs that carry measured numbers: measured, kept, written into the documents.

``docs/numbers/sentences.yaml`` holds measures by name and the passages that quote them. What an edition, a form of
the published archive or the plan gives is kept in ``docs/numbers/<form>.json``; what benchmarks and controls gave is
read from the files that they wrote, ``docs/performance/<file>.json`` and ``docs/numbers/controls.json``. A passage
stands in its document between ``<!-- numbers NAME -->`` and ``<!-- /numbers -->``; nothing there is typed by hand.
"""

from __future__ import annotations

import json
import math
import re
import string
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualgrad.claims.evaluate import Filler, Result, measure_all
from dualgrad.claims.functions import FUNCTIONS
from dualgrad.claims.load import Ledger, check_measure
from dualgrad.claims.measure import Measurer
from dualgrad.progress import duration
from dualgrad.project import load_project
from dualgrad.release.contents import Release
from dualgrad.validation import InputError, did_you_mean, read_yaml

FOLDER = Path("docs/numbers")
FILE = FOLDER / "sentences.yaml"
#: What `dualgrad bench --output` wrote.
BENCHMARKS = Path("docs/performance")
#: Form -> whose measures it gives values to. Two forms of the published archive share theirs.
FORMS = {
    **{"demo": "demo", "released": "released", "complete": "released"},
    **{"plan": "plan", "bench": "bench", "controls": "controls"},
}
#: Forms that are measured anew by `dualgrad numbers`, and kept beside the sentences.
KEPT = tuple(form for form in FORMS if form not in ("bench", "controls"))
#: Digits that are kept: more than any sentence shows, fewer than differ between machines.
SIGNIFICANT = 6
WIDTH = 118
_BLOCK = re.compile(r"^<!-- numbers ([\w-]+) -->\n(.*?)^<!-- /numbers -->$", re.MULTILINE | re.DOTALL)

Values = dict[str, list[Any]]


class SentencesError(InputError):
    """docs/numbers/sentences.yaml, a file of numbers or a document cannot be used."""


@dataclass(frozen=True)
class Sentences:
    """Measures by whose they are and name, and passages by document and name."""

    facts: Mapping[str, Mapping[str, Mapping[str, Any]]]
    passages: Mapping[str, Mapping[str, str]]

    def quoted(self) -> dict[str, set[str]]:
        """Names that the passages quote, by form."""
        found: dict[str, set[str]] = {form: set() for form in FORMS}
        for passages in self.passages.values():
            for text in passages.values():
                for _, name, _, _ in string.Formatter().parse(text):
                    if name:
                        form, _, rest = name.partition(".")
                        found[form].add(rest.partition("[")[0])
        return found


def load_sentences(root: Path, ledger: Ledger, experiments: Iterable[str]) -> Sentences:
    """Read and check docs/numbers/sentences.yaml.

    Raises:
        SentencesError: it is malformed, or a passage quotes what is not measured.
        ClaimsError: a measure names what does not exist.
    """
    data = read_yaml(root / FILE, str(FILE), SentencesError)
    for key in ("facts", "passages"):
        if not isinstance(data.get(key), Mapping):
            raise SentencesError(FILE, key, "expected measures by name (facts), and passages by document")
    known = set(experiments)
    for owner, measures in data["facts"].items():
        if owner not in FORMS.values():
            raise SentencesError(
                FILE, f"facts.{owner}", f"no such edition{did_you_mean(owner, FORMS.values())}"
            )
        if owner == "bench":
            for name, fact in measures.items():
                if not isinstance(fact, Mapping) or not {"file", "give"} <= set(fact) <= {
                    *("file", "result", "give")
                }:
                    problem = (
                        "expected file, give and, for what stands in a result, the beginning of its 'what'"
                    )
                    raise SentencesError(FILE, f"facts.bench.{name}", problem)
        elif owner not in ("plan", "controls"):
            for name, measure in measures.items():
                check_measure(measure, ledger, known, f"{owner}.{name}")
    sentences = Sentences(data["facts"], data["passages"])
    for document, passages in sentences.passages.items():
        for name, text in passages.items():
            for _, quoted, form, _ in string.Formatter().parse(text):
                if quoted:
                    _check_quoted(quoted, form or "", sentences.facts, f"{document}.{name}")
    return sentences


def _check_quoted(quoted: str, form: str, facts: Mapping[str, Mapping[str, Any]], where: str) -> None:
    whose, _, name = quoted.partition("[")[0].partition(".")
    if whose not in FORMS:
        raise SentencesError(
            FILE, where, f"'{{{quoted}}}': expected one of {', '.join(FORMS)} before the dot"
        )
    if name not in facts.get(FORMS[whose], {}):
        hint = did_you_mean(name, facts.get(FORMS[whose], {}))
        raise SentencesError(FILE, where, f"'{{{quoted}}}': {FORMS[whose]} has no fact {name!r}{hint}")
    try:
        format(0.5, form)
    except ValueError as error:
        raise SentencesError(FILE, where, f"'{{{quoted}:{form}}}' cannot be written ({error})") from None


# ------------------------------------------------------------------------------------------------- numbers


def measure(
    sentences: Sentences,
    form: str,
    ledger: Ledger,
    tables: Any,
    release: Release | None,
    results: Mapping[str, Result] | None = None,
) -> Values:
    """Measure what the passages quote of a form, on an edition's tables.

    Args:
        sentences: facts and passages.
        form: one of :data:`FORMS`.
        ledger: the claims, for facts about their verdicts.
        tables: the edition's tables.
        release: what is known of the published archive beside its rows.
        results: what the claims gave there, if they have been measured already.

    Raises:
        MissingError: the edition lacks the rows.
    """
    facts = sentences.facts[FORMS[form]]
    measurer = Measurer(tables, ledger.rows, FUNCTIONS, release)
    wanted = sorted(sentences.quoted()[form])
    if any(facts[name].get("function") in ("verdicts_of", "composition") for name in wanted):
        measurer.results.update(results or measure_all(ledger, tables, release).results)
    return {name: [rounded(value) for value in measurer.measure(facts[name])] for name in wanted}


def rounded(value: Any) -> Any:
    """A value with as many digits as are kept."""
    return float(f"{value:.{SIGNIFICANT}g}") if isinstance(value, float) else value


def plan(sentences: Sentences, root: Path) -> Values:
    """Runs to train, hours of one GPU, days on several, GiB, submissions to a cluster: of plans that passages quote.

    Where a plan names one of the derived rates, seconds of an epoch and what a step goes to as well.
    """
    from dualgrad.jobs.requests import Requests
    from dualgrad.planning import derived
    from dualgrad.planning.given import given_in_words
    from dualgrad.planning.plan import make_plan
    from dualgrad.planning.recorded import Recorded
    from dualgrad.planning.selection import select
    from dualgrad.planning.storage import memory

    found: Values = {}
    for name in sorted(sentences.quoted()["plan"]):
        fact = sentences.facts["plan"][name]
        project = load_project(root, fact["config"])
        names = select(project.census, fact["selection"])
        device = "cpu" if project.census.edition["device"] == "cpu" else "cuda"
        rates, answers = None, {}
        if "derived" in fact:
            seconds = derived.EPOCH[fact["derived"]]
            rates = given_in_words([f"{derived.NETWORK}={seconds}"], project.census, "derived").rates
            answers = {"seconds": seconds, "step": rounded(sum(derived.STEP.values())), **derived.STEP}
        made = make_plan(project.census, names, device, Recorded(), rates)
        answers |= {
            "trained": sum(work.runs > 0 for work in made.work.values()),
            "hours": round(made.total()[1] / 3600),
            "days": round(made.schedule(fact.get("slots", 1)).makespan / 86400),
        }
        needed = [memory(project.census.runs[run], device) for run in names]
        answers |= {
            "memory": math.ceil(max(one.host for one in needed) / 2**30),
            "GPU memory": math.ceil(max(one.device for one in needed) / 2**30),
        }
        if "submissions" in fact["give"]:
            requests = Requests(project, cluster=True, local_gpu=False)
            answers["submissions"], minutes = requests.submissions(names, _group_components(root))
            answers |= {"runs": len(names), "asked": duration(60 * minutes)}
        found[name] = [answers[word] for word in fact["give"]]
    return found


def _group_components(root: Path) -> dict[str, int]:
    """Runs of each group in one submission, as the profile for SLURM says."""
    profile = Path("workflow", "profiles", "slurm", "profile.yaml")
    return read_yaml(root / profile, str(profile), SentencesError)["group-components"]


def values_of(sentences: Sentences, root: Path) -> dict[str, Values]:
    """Return the numbers of all forms that the passages quote.

    Raises:
        SentencesError: a file of numbers is missing or damaged, or has no such number.
    """
    found = {}
    for form, names in sentences.quoted().items():
        if form == "bench":
            facts = sentences.facts.get(form, {})
            found[form] = {name: _measured_by_benchmark(root, name, facts[name]) for name in sorted(names)}
        elif form == "controls":
            found[form] = _answered_by_controls(sentences, root, names)
        elif names:
            found[form] = read_numbers(root, form)
    return found


def _answered_by_controls(sentences: Sentences, root: Path, names: Iterable[str]) -> Values:
    """The values of facts about conditions of controls, read off ``docs/numbers/controls.json``."""
    path = FOLDER / "controls.json"
    try:
        known = json.loads((root / path).read_text(encoding="utf-8"))["controls"]
    except (OSError, ValueError, LookupError) as error:
        raise SentencesError(path, "controls", f"cannot be read ({error})") from None
    found: Values = {}
    for name in sorted(names):
        fact = sentences.facts["controls"][name]
        conditions = known.get(fact["control"], {}).get("conditions", [])
        mine = [one for one in conditions if one["levels"] == fact["levels"]]
        if not mine:
            problem = f"{path} has no condition {fact['levels']} of {fact['control']}"
            raise SentencesError(FILE, f"facts.controls.{name}", problem)
        found[name] = [rounded(mine[0][word]) for word in fact["give"]]
    return found


def _measured_by_benchmark(root: Path, name: str, fact: Mapping[str, Any]) -> list[Any]:
    """The values of a fact about a benchmark: places in its report, or in the result of that name or beginning."""
    path = root / BENCHMARKS / f"{fact['file']}.json"
    place = BENCHMARKS / path.name
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        results = {result["what"]: result for result in report["results"]}
    except FileNotFoundError:
        known = [one.stem for one in path.parent.glob("*.json")]
        problem = f"facts.bench.{name}: there is no such file{did_you_mean(str(fact['file']), known)}"
        raise SentencesError(place, "", f"{problem}; `dualgrad bench --output` writes one") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SentencesError(place, "", f"cannot be read ({error})") from None
    within = report
    if "result" in fact:
        names = [fact["result"]] if fact["result"] in results else results
        fitting = [results[what] for what in names if what.startswith(fact["result"])]
        if len(fitting) != 1:
            problem = f"expected one result whose 'what' begins so; found {len(fitting)}"
            hint = did_you_mean(fact["result"], results)
            raise SentencesError(FILE, f"facts.bench.{name}.result", f"'{fact['result']}': {problem}{hint}")
        within = fitting[0]
    values = []
    for words in fact["give"]:
        value = within
        for key in str(words).split("."):
            if not isinstance(value, Mapping) or key not in value:
                hint = did_you_mean(key, value if isinstance(value, Mapping) else ())
                raise SentencesError(
                    FILE, f"facts.bench.{name}.give", f"'{words}': there is no {key!r}{hint}"
                )
            value = value[key]
        values.append(rounded(value))
    return values


def read_numbers(root: Path, form: str) -> Values:
    """Read the kept numbers of a form.

    Raises:
        SentencesError: there are none, or the file is damaged.
    """
    path = root / FOLDER / f"{form}.json"
    how = f"make it: dualgrad numbers {form} --fix"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["values"]
        return dict(values)
    except FileNotFoundError:
        raise SentencesError(FOLDER / path.name, form, f"there is no such file; {how}") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SentencesError(FOLDER / path.name, form, f"cannot be read ({error}); {how}") from None


def numbers_text(form: str, about: str, values: Values) -> str:
    """The content of a file of numbers."""
    content = {"form": form, "about": about, "values": values}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


# ------------------------------------------------------------------------------------------------- documents


def filled(text: str, values: Mapping[str, Values]) -> str:
    """Fill a passage with the numbers of all forms.

    Raises:
        SentencesError: a number is not kept.
    """
    flat = {f"{form}.{name}": value for form, found in values.items() for name, value in found.items()}
    filler = Filler(flat)
    done = filler.vformat(text, (), {})
    if not filler.complete:
        missing = [
            name
            for _, name, _, _ in string.Formatter().parse(text)
            if name and name.partition("[")[0] not in flat
        ]
        problem = f"no number for {', '.join(missing) or 'a place'}; measure it: dualgrad numbers FORM --fix"
        raise SentencesError(FILE, text.split("\n")[0][:40], problem)
    return "\n".join(_wrapped(line) for line in done.strip().splitlines()) + "\n"


def _wrapped(line: str) -> str:
    """A paragraph or bullet in lines of the documents' width; a row of a table as it is."""
    if not line.strip() or line.startswith("|"):
        return line
    later = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, WIDTH, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)


def document_with(text: str, document: str, passages: Mapping[str, str], values: Mapping[str, Values]) -> str:
    """Return a document with its passages filled anew.

    Raises:
        SentencesError: its markers and the passages do not belong together.
    """
    found = [match[1] for match in _BLOCK.finditer(text)]
    if sorted(found) != sorted(passages):
        odd = sorted(set(found) ^ set(passages)) or [name for name in found if found.count(name) > 1]
        problem = (
            f"expected '<!-- numbers {odd[0]} -->' … '<!-- /numbers -->' once, and as a passage in {FILE}"
        )
        raise SentencesError(document, odd[0], problem)

    def block(match: re.Match[str]) -> str:
        return f"<!-- numbers {match[1]} -->\n{filled(passages[match[1]], values)}<!-- /numbers -->"

    return _BLOCK.sub(block, text)


def without_passages(text: str) -> str:
    """A document's text without what is written by this module."""
    return _BLOCK.sub("", text)
