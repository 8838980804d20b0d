"""Malformed claims, mappings and manifests."""

from __future__ import annotations

from .case import Case, edit, recode, write
from .words import BOMB

FILE, MAPPING, MANIFEST = "config/claims.yaml", "config/released/A-Q.yaml", "config/released/manifest.csv"


def claim(name: str, old: str, new: str, *words: str) -> Case:
    """The claims with one text replaced."""
    return Case("claims", name, ("claims",), (FILE, *words), edit(FILE, old, new))


_MEASURE = "measure: {rows: grid, where: {lambda: 0.1}, statistic: min}"
_FAMILY = "measure: {experiments: [A], where: {seed: $seed}, over: lambda, take: max}"
CLAIMS = [
    claim("an id of symbols", "id: best", "id: '<b>'", "id", "'<b>'"),
    claim("an id twice", "id: each-$seed", "id: best", "best", "two claims"),
    claim("no id", "id: best\n      places", "places", "'id'", "missing"),
    claim("a place without a section", '["paper § 1"]', "[paper]", "places", "'paper'"),
    claim("a document of no name", '["paper § 1"]', '["papr § 1"]', "best", "did you mean 'paper'"),
    claim("a topic of no name", "  errors:\n    - id", "  errrs:\n    - id", "did you mean 'errors'"),
    claim("an unknown word", "printed: 0.25", "prnted: 0.25", "'prnted'", "did you mean 'printed'"),
    claim("a number that is none", "printed: 0.25", "printed: .nan", "line", "finite"),
    claim("a number that is a flag", "printed: 0.25", "printed: true", "printed", "True"),
    claim("a step of nothing", "step: 0.01", "step: 0", "step", "more than 0"),
    claim("no step and no criterion", "step: 0.01\n", "\n", "best", "expect"),
    claim("no measure", _MEASURE, "note: x", "best", "exactly one of measure"),
    claim("two ways to measure", _MEASURE, _MEASURE + "\n      untestable: why", "best", "exactly one of"),
    claim("a measure that is a text", _MEASURE, "measure: everything", "measure", "object"),
    claim("rows of no name", "rows: grid, where", "rows: gird, where", "best", "did you mean 'grid'"),
    claim("a column of no name", "where: {lambda: 0.1}", "where: {lamda: 0.1}", "did you mean 'lambda'"),
    claim("a statistic of no name", "statistic: min}\n    -", "statistic: mim}\n    -", "statistic", "'mim'"),
    claim("an experiment of no name", "{experiments: [A], where", "{experiments: [AA], where", "'AA'"),
    claim("an experiment that is a number", "{experiments: [A], where", "{experiments: [1], where", "string"),
    claim(
        "a table of no name", _MEASURE, "measure: {rows: grid, table: run}", "table", "did you mean 'runs'"
    ),
    claim("a bound of no kind", "{lambda: 0.1}", "{lambda: {under: 0.1}}", "'under'", "below"),
    claim("a bound that is a text", "{lambda: 0.1}", "{lambda: {below: low}}", "below", "number"),
    claim("a number asked of a text", "{lambda: 0.1}", "{lambda: low}", "best", "lambda", "'low'"),
    claim("a bound on words", "{lambda: 0.1}", "{model: {below: 0.1}}", "best", "model", "below"),
    claim(
        "a beginning of a number", "{lambda: 0.1}", "{lambda: {starting: a}}", "best", "lambda", "starting"
    ),
    claim(
        "a field of words",
        "statistic: min}\n    -",
        "field: run, statistic: min}\n    -",
        "best",
        "run",
        "numbers",
    ),
    claim("a field of no name", "statistic: min}\n    -", "field: eror, statistic: min}\n    -", "'eror'"),
    claim("a way to take of no name", "take: max", "take: most", "each-0", "did you mean"),
    claim("a way to take that is empty", "take: max", "take: [{}]", "take"),
    claim("a way to take that is a number", "take: max", "take: 5", "take"),
    claim("a way to take without its argument", "take: max", "take: at", "each-0", "cannot be carried out"),
    claim("a function of no name", _MEASURE, "measure: {function: dipp}", "function", "did you mean"),
    claim(
        "a function with an argument of no name",
        _MEASURE,
        "measure: {rows: grid, function: dip, with: {x: 1}}",
        "best",
        "dip",
        "x",
    ),
    claim("parts that are a number", _MEASURE, "measure: {parts: 3}", "parts"),
    claim(
        "a difference of three",
        _MEASURE,
        "measure: {difference: [{rows: grid}, {rows: grid}, {rows: grid}]}",
        "difference",
    ),
    claim("a criterion of no kind", "step: 0.01", "expect: {aboove: 1}", "'aboove'", "did you mean 'above'"),
    claim("a criterion of nothing", "step: 0.01", "expect: {}", "expect"),
    claim("an interval of one", "step: 0.01", "expect: {between: [1]}", "between"),
    claim("a unit of no kind", "step: 0.01", "step: 0.01\n      unit: percent", "unit", "pp"),
    claim("a family with a row too short", "[0, 0.2]", "[0]", "each-$seed", "2 columns"),
    claim(
        "a family with a column of no name",
        "says: the error of seed $seed",
        "says: the error of $sed",
        "'sed'",
        "did you mean 'seed'",
    ),
    claim("a family with a format that is none", "seed $seed\n", "seed ${seed:zz}\n", "each-$seed", "zz"),
    claim("a family without rows", "rows: [[0, 0.2], [1, 0.3]]", "rows: 2", "each.rows", "array"),
    claim(
        "a picture that is none", "step: 0.01", 'step: 0.01\n      show: "{0:zz}"', "best", "show", "{0:zz}"
    ),
    claim("a picture left open", "step: 0.01", 'step: 0.01\n      show: "{0"', "best", "show"),
    claim(
        "a picture of an attribute", "step: 0.01", 'step: 0.01\n      show: "{0.__class__}"', "best", "show"
    ),
    claim(
        "a note on nothing",
        "step: 0.01",
        'step: 0.01\n      note: "see {nothing}"',
        "best",
        "note",
        "nothing",
    ),
    claim("a conclusion about nothing", "Lowest error {low}.", "Lowest error {lwo}.", "It works", "lwo"),
    claim(
        "a value called by a number", "values: {low:", "values: {5:", "conclusions.0.values", "5", "a name"
    ),
    claim("a conclusion on no claim", "claims: [best]", "claims: [bst]", "did you mean 'best'"),
    claim("a conclusion with a format that is none", "{low}.", "{low:zz}.", "It works", "zz"),
    claim("no conclusions", "conclusions:", "conclusion:", "conclusion"),
    claim("a key twice", "topics:", "documents: {}\ntopics:", "line", "twice"),
    Case(
        "claims",
        "a bomb of aliases",
        ("claims",),
        (FILE, "aliases"),
        recode(FILE, lambda old: old + BOMB.encode()),
    ),
    Case("claims", "nothing", ("claims",), (FILE, "object"), write(FILE, "")),
    Case(
        "claims",
        "UTF-16",
        ("claims",),
        (FILE, "UTF-8"),
        recode(FILE, lambda old: old.decode().encode("utf-16")),
    ),
    Case("claims", "no file", ("claims",), (FILE, "does not exist"), lambda root: (root / FILE).unlink()),
]


def mapping(name: str, old: str, new: str, *words: str) -> Case:
    """The mapping of the published files with one text replaced."""
    return Case("mapping", name, ("ingest", "A"), (MAPPING, *words), edit(MAPPING, old, new))


MAPPINGS = [
    mapping("a bracket left open", "{factor: seed}}", "{factor: seed}", "line"),
    mapping("an unknown block", "shapes:", "shape:", "'shape'", "shapes"),
    mapping("a shape of no name", "like: grid", "like: gird", "A", "like", "gird", "grid"),
    mapping("a shape that is a number", "like: grid", "like: 5", "A", "like"),
    mapping("a shape of itself", "  grid:\n", "  grid:\n    like: grid\n", "grid", "circle"),
    mapping(
        "a shape that is a list",
        "  grid:\n    fields: {",
        "  grid: [x]\n  other:\n    fields: {",
        "grid",
        "object",
    ),
    mapping(
        "sources that are a number",
        "  A:\n    - file: results/a.json",
        "  B: 5\n  A:\n    - file: results/a.json",
        "experiments.B",
        "array",
    ),
    mapping(
        "a source without a file",
        "    - file: results/a.json\n      like",
        "    - like",
        "A",
        "needs file and fields",
    ),
    mapping("a file that is a number", "file: results/a.json", "file: 5", "A", "file", "string"),
    mapping(
        "a file elsewhere", "file: results/a.json", "file: ../../../etc/passwd", "file", "../../../etc/passwd"
    ),
    mapping(
        "a column of no name", "test_error: test_error", "test_error: test_eror", "test_error", "'test_eror'"
    ),
    mapping("a rule that is a number", "test_error: test_error", "test_error: 5", "fields.test_error"),
    mapping(
        "a rule of nothing", "test_error: test_error", "test_error: {}", "fields.test_error", "says nothing"
    ),
    mapping(
        "a rule with an unknown word",
        "{one_minus: test_error}",
        "{one_mins: test_error}",
        "test_acc",
        "'one_mins'",
    ),
    mapping(
        "a complement of no field",
        "{one_minus: test_error}",
        "{one_minus: test_eror}",
        "test_acc",
        "one_minus",
        "test_eror",
    ),
    mapping("a factor of no name", "{factor: seed}", "{factor: seeds}", "seed", "'seeds'"),
    mapping(
        "a pattern that is none", "note: {skip: words}", "note: {to: region, match: '('}", "note", "match"
    ),
    mapping(
        "a pattern that is a number",
        "note: {skip: words}",
        "note: {to: region, match: 5}",
        "note.match",
        "string",
    ),
    mapping(
        "a pattern without a group",
        "note: {skip: words}",
        "note: {to: region, match: x}",
        "note.match",
        "group",
    ),
    mapping(
        "a number added that is a text",
        "epoch: {to: epoch}",
        "epoch: {to: epoch, plus: one}",
        "plus",
        "integer",
    ),
    mapping("a block from nothing", "from: history", "form: rows", "blocks", "from or point"),
    Case(
        "mapping",
        "a block of no field",
        ("ingest", "A"),
        ("results/a.json", "field histry", "missing"),
        edit(MAPPING, "from: history", "from: histry"),
    ),
    mapping("a block of no form", "from: history", "from: history\n          form: cells", "form", "rows"),
    Case(
        "mapping",
        "a block without a stage",
        ("ingest", "A"),
        ("results/a.json", "history", "the mapping gives no stage"),
        edit(MAPPING, "          stage: main\n", ""),
    ),
    mapping(
        "a block that is a list",
        "        - from: history",
        "        - [history]\n        - from: history",
        "blocks",
    ),
    mapping(
        "an item of no table", "trajectories.test_error", "trajectory.test_error", "'trajectory.test_error'"
    ),
    mapping("an item of no column", "trajectories.test_error", "trajectories.eror", "'eror'"),
    mapping(
        "a stop rule of no kind",
        "      blocks:",
        "      event: {stage: main, error: over}\n      blocks:",
        "event",
    ),
    mapping(
        "a stop rule without a threshold",
        "      blocks:",
        "      event: {stage: main, error: above, unit: epoch}\n      blocks:",
        "event",
        "threshold",
    ),
    mapping(
        "a constant of no column",
        "      blocks:",
        "      constants: {colour: red}\n      blocks:",
        "constants",
        "colour",
    ),
    mapping("a key twice", "      like: grid", "      like: grid\n      like: grid", "line", "twice"),
    Case(
        "mapping",
        "a bomb of aliases",
        ("ingest", "A"),
        (MAPPING, "aliases"),
        recode(MAPPING, lambda old: old + BOMB.encode()),
    ),
    Case(
        "mapping", "no UTF-8", ("ingest", "A"), (MAPPING, "UTF-8"), recode(MAPPING, lambda old: old + b"\xff")
    ),
    Case("mapping", "nothing", ("ingest", "A"), (MAPPING, "object"), write(MAPPING, "")),
    Case(
        "mapping",
        "no file",
        ("ingest", "A"),
        ("config/released", "no mapping files"),
        lambda root: (root / MAPPING).unlink(),
    ),
]


def manifest(name: str, content: bytes, *words: str) -> Case:
    """The manifest with this content."""
    return Case("manifest", name, ("ingest", "A"), (MANIFEST, *words), write(MANIFEST, content))


_HASH = b"0" * 64
MANIFESTS = [
    manifest("nothing", b"", "path,bytes,sha256"),
    manifest("other columns", b"file,size\nresults/a.json,3\n", "path,bytes,sha256"),
    manifest("a row too short", b"path,bytes,sha256\nresults/a.json\n", "line 2"),
    manifest("a row too long", b"path,bytes,sha256\nresults/a.json,3," + _HASH + b",x\n", "line 2"),
    manifest(
        "a size as a text",
        b"path,bytes,sha256\nresults/a.json,few," + _HASH + b"\n",
        "line 2",
        "bytes",
        "'few'",
    ),
    manifest(
        "a size below zero", b"path,bytes,sha256\nresults/a.json,-3," + _HASH + b"\n", "line 2", "bytes"
    ),
    manifest("a hash too short", b"path,bytes,sha256\nresults/a.json,3,00ff\n", "line 2", "sha256", "64"),
    manifest(
        "a path that leaves the archive",
        b"path,bytes,sha256\n../../etc/passwd,3," + _HASH + b"\n",
        "line 2",
        "path",
        "../../etc/passwd",
    ),
    manifest(
        "an absolute path",
        b"path,bytes,sha256\n/etc/passwd,3," + _HASH + b"\n",
        "line 2",
        "path",
        "/etc/passwd",
    ),
    manifest(
        "a path twice", b"path,bytes,sha256\n" + 2 * (b"results/a.json,3," + _HASH + b"\n"), "line 3", "twice"
    ),
    manifest("a NUL", b"path,bytes,sha256\nresults/a\0.json,3," + _HASH + b"\n", "line"),
    manifest("UTF-16", "path,bytes,sha256\n".encode("utf-16"), "UTF-8"),
    manifest("a quote left open", b'path,bytes,sha256\n"results/a.json,3,' + b"x" * 200_000, "line"),
    manifest(
        "files that the mapping does not name",
        b"path,bytes,sha256\nresults/b.json,3," + _HASH + b"\n",
        "results/a.json",
    ),
]
