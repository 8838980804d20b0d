"""The census explorer: what the page carries, and the page itself in a browser.

The results are made up from the protocols' own calendars, for some experiments; the others are not made.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zlib
from pathlib import Path

import pytest
import yaml
from browser import drawn, open_page, painted, wait
from synthetic import error_of, write_results

from dualgrad.cli import main
from dualgrad.explorer import build
from dualgrad.explorer.data import gather
from dualgrad.project import load_project, load_settings

ROOT = Path(__file__).resolve().parents[1]
MADE = ("A", "C", "K", "R1a", "T1a", "V1", "X1", "Y2k3")
# A run with two branches, one λ at a time, and a run that is not made.
BRANCHES, MISSING = "V1/seed1", "Q1/width2_lam0.46_eta0.8_seed9"


@pytest.fixture(scope="module")
def results(demo, tmp_path_factory) -> Path:
    """``results/demo`` with the tables of some experiments."""
    return write_results(tmp_path_factory.mktemp("results"), demo, MADE)


@pytest.fixture(scope="module")
def page(demo, results, tmp_path_factory) -> Path:
    """The page of these results."""
    output = tmp_path_factory.mktemp("page") / "explorer.html"
    build(demo, load_settings(ROOT), results, output)
    return output


@pytest.fixture(scope="module")
def kept(browser, page):
    """The page, ready; after these tests nothing may have gone wrong in it."""
    with open_page(browser, page.as_uri()) as one:
        ready(one)
        yield one


@pytest.fixture
def opened(kept):
    """The page as it is when it has been opened: all experiments, in the census's order."""
    yield kept
    kept.evaluate("clearFilters(); state.run = null; order.key = null; cursor = -1; changed(true)")
    assert count_of(kept).startswith("3,916 of")


def ready(one) -> None:
    """Wait until the runs are shown."""
    wait(one, "document.querySelectorAll('.row').length > 0")


def carried(page: Path) -> dict:
    """The data that a page carries."""
    text = re.search(r'id="data">([^<]+)<', page.read_text(encoding="utf-8"))
    assert text is not None
    return json.loads(zlib.decompress(base64.b64decode(text[1])))


# ------------------------------------------------------------------------------------------------------- data


def test_every_counted_run_is_there(demo, results) -> None:
    data = gather(demo, results)
    names = [(e["name"], e["count"]) for e in data["experiments"]]
    assert sum(count for _, count in names) == len(data["names"]) == 3916
    assert [name for name, _ in names] == [name for name, one in demo.experiments.items() if one["counted"]]
    counts = {one: data["status"]["of"].count(k) for k, one in enumerate(data["status"]["levels"])}
    made = sum(len(demo.experiments[name]["runs"]) for name in MADE)
    assert counts["not made"] == 3916 - made
    assert counts["gate_failed"] == 3  # R1a, T1a, X1... of the runs called seed7
    assert sum(error >= 0 for error in data["error"]) == made


def test_the_same_results_give_the_same_page(demo, results, page, tmp_path) -> None:
    again = tmp_path / "again.html"
    build(demo, load_settings(ROOT), results, again)
    assert again.read_bytes() == page.read_bytes()


def test_the_page_is_one_file_without_addresses(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text) < 5e6
    head = text[: text.index('id="data"')] + text[text.index("</script>", text.index('id="data"')) :]
    assert not re.findall(r"\b(?:src|href)=[\"']?(?:https?:)?//", head)
    assert not re.findall(r"url\((?!data:)", head)
    assert "default-src 'none'" in head
    assert "{{" not in head.replace("${{", "")


def test_the_command(results, tmp_path, capsys) -> None:
    output = tmp_path / "explorer.html"
    words = ["explorer", "--root", str(ROOT), "--results", str(results), "--output", str(output), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["runs"] == 3916 and said["bytes"] == output.stat().st_size
    assert carried(output)["edition"]["name"] == "demo"


def test_the_commands_of_editions(demo, results, tmp_path) -> None:
    from dualgrad.explorer.build import commands

    def shown(**given: object) -> list[str]:
        project = load_project(ROOT, given)
        return [one["command"] for one in commands(project.census, project.settings)]

    assert shown() == ["snakemake results/demo/runs/{run}.json --cores 1"]
    (paper,) = shown(edition="paper", precision="published")
    assert paper.endswith("--resources gpu=1 --config edition=paper precision=published")
    (trial,) = shown(edition="paper", max_steps=2, compile=True)
    assert "results/paper-trial/" in trial and trial.endswith("edition=paper max_steps=2 compile=true")
    miniature, published = shown(edition="released", results_dir="my results")
    assert "'my results'/demo/runs/" in miniature and miniature.endswith(" --config 'results_dir=my results'")
    assert "/paper/runs/" in published and published.endswith(" edition=paper 'results_dir=my results'")


# ------------------------------------------------------------------------------------------------ in a browser


def test_it_loads_quickly(browser, page) -> None:
    with open_page(browser, page.as_uri()) as one:
        ready(one)
        assert painted(one) < 10
        assert one.evaluate("performance.now()") < 20000, "measured: 0.4 s on two busy cores"
        assert one.evaluate("document.getElementById('count').textContent").startswith("3,916 of 3,916 runs")
        assert one.evaluate("document.querySelectorAll('.panel').length") == 68


def test_it_knows_what_the_tables_say(opened, demo) -> None:
    script = """D.names.map((_, i) => [runs.id[i], runs.eta[i], runs.lam[i], D.seed[i], timeline(i)])
        .filter(([id]) => id.startsWith('K/') || id.startsWith('T1a/'))"""
    for target, eta, lam, seed, stretches in opened.evaluate(script):
        run = demo.runs[target]
        assert (eta, seed) == (run["noise"]["rate"], run["factors"]["seed"])
        assert lam == run["factors"].get("lambda")
        for stretch in stretches:
            assert stretch["x"] == stretch["epochs"]  # one session: the clock runs through
            assert stretch["errors"] == pytest.approx(
                [error_of(run, stretch["lam"], epoch) for epoch in stretch["epochs"]], abs=1e-9
            )
    branches = opened.evaluate(f"timeline(byId.get('{BRANCHES}'))")
    starts = {stretch["stage"]: stretch["base"] for stretch in branches}
    assert starts == {"ordered_init": 0, "collapse_init": 0, "ordered_sweep": 50, "collapse_sweep": 80}


def test_it_shows_every_protocol_as_the_command_line_does(opened, demo) -> None:
    counted = [target for target, run in demo.runs.items() if run["counted"]]
    shown = opened.evaluate("D.names.map((_, i) => JSON.stringify(resolved(i)))")
    for target, text in zip(counted, shown, strict=True):
        run = demo.runs[target]
        assert json.loads(text) == {key: value for key, value in run.items() if key != "counted"}, target
    for target in (
        "A/lam0.35_eta0.4_seed0",
        BRANCHES,
        "W2/seed0_base",
        "Td2/trap1",
        "B3/renorm_lam0.2_eta0.4_seed0",
    ):
        text = opened.evaluate(f"yaml(resolved(byId.get('{target}')))")
        expected = {key: value for key, value in demo.runs[target].items() if key != "counted"}
        assert yaml.safe_load(text) == expected, target
    # In words, too: nothing that a run can be makes the page stumble.
    opened.evaluate(
        "D.names.forEach((_, i) => { const spec = resolved(i); inWords(spec); stagesTable(spec); })"
    )


def test_no_run_is_shown_with_a_hole(opened) -> None:
    # One run of every shape; Td2's traps train nothing and have no λ.
    script = """D.experiments.map(one => one.first).map(i => {
        state.run = i; update();
        return [runs.id[i], $('content').innerText + $('row' + i).innerText];
    }).filter(([, text]) => /undefined|NaN|Infinity|null|\\[object/.test(text)).map(([id]) => id)"""
    assert opened.evaluate(script) == []


HOSTILE = "<img src=x onerror=pwned=1>\"'`{x}"


def test_no_value_of_a_run_reaches_the_page_as_markup(opened) -> None:
    """Every leaf of every shape of run, numbers and classes too: only what the page itself writes is markup."""
    script = f"""(() => {{
        const hostile = {json.dumps(HOSTILE)}, told = new Set();
        const places = (value, path = []) => value && typeof value === 'object'
            ? Object.entries(value).flatMap(([key, one]) => places(one, [...path, key])) : [path];
        for (const i of D.experiments.map(one => one.first)) {{
            for (const path of places(resolved(i))) {{
                const spec = structuredClone(resolved(i));
                let at = spec;
                for (const key of path.slice(0, -1)) at = at[key];
                at[path.at(-1)] = hostile;
                let pieces = [];
                try {{ pieces = inWords(spec).map(([, one]) => one); }} catch {{ /* not a number */ }}
                try {{ pieces.push(stagesTable(spec)); }} catch {{ /* likewise */ }}
                const host = document.createElement('template');
                host.innerHTML = pieces.join('');
                if (host.innerHTML.includes('x onerror')) told.add(path.filter(key => !/^\\d+$/.test(key)).join('.'));
                if (host.content.querySelector('[onerror], img')) throw new Error(path.join('.'));
            }}
        }}
        return [...told];
    }})()"""
    told = opened.evaluate(script)
    assert {"noise.map", "task.model.name", "task.model.hidden"} <= set(told), told


def test_the_pages_policy_runs_its_own_scripts_alone(browser, page) -> None:
    with open_page(browser, page.as_uri(), faultless=False) as one:
        ready(one)
        image, link = "<img src=data:, onerror='window.pwned=1'>", "<a id=bad onclick='window.pwned=2'>x</a>"
        one.evaluate(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(image + link)})")
        one.evaluate("document.getElementById('bad').click()")
        one.evaluate("new Promise(done => setTimeout(done, 100))")
        assert one.evaluate("window.pwned === undefined")


def test_a_browser_that_cannot_unpack_is_told_so(page, tmp_path, browser) -> None:
    text = page.read_text(encoding="utf-8")
    for template in ("explorer/explorer.html", "report/statistics.html", "claims/page/claims.html"):
        source = (ROOT / "src/dualgrad" / template).read_text(encoding="utf-8")
        assert '"unpack.js"' in source and 'id="loading"' in source
    assert text.count("<script>") >= 2
    # Scripts of the page are known by their hash, so the older browser is made before they run.
    with open_page(
        browser, page.as_uri(), before="delete globalThis.DecompressionStream", faultless=False
    ) as one:
        wait(
            one,
            "document.getElementById('loading')?.textContent.includes('this browser has no DecompressionStream')",
        )


def test_runs_on_ones_own_files_have_words(opened) -> None:
    """What no run of the published census has: labels and trusted examples from files, validation, aggregators."""
    own = """inWords({...resolved(0), method: {aggregator: 'CAGrad', c: 0.4},
      noise: {kind: 'file', path: '<b>.npy', column: null},
      task: {...resolved(0).task, validation: {share: 0.1}}, value: {...resolved(0).value, labels: 'trusted',
      trusted: {path: 't.csv', column: 'i', ratio: null}}})
      .map(([label, text]) => `${label}: ${text}`).join('\\n')"""
    said = opened.evaluate(own)
    for words in (
        "the labels of the file <code>&#60;b&#62;.npy</code>",
        "10 % of the training examples are set aside for validation",
        "true labels of the examples that the file <code>t.csv</code> (i) lists in the batch",
        "TorchJD's <code>CAGrad</code>; c 0.4",
    ):
        assert words in said, said
    assert "NaN" not in said and "undefined" not in said and "object" not in said


def count_of(one) -> str:
    """What the page says about the number of runs."""
    drawn(one)
    return one.evaluate("document.getElementById('count').textContent")


def test_filters(opened, demo) -> None:
    opened.click(".chip[data-eta='0.4']")
    assert count_of(opened).startswith("2,304 of")
    opened.keyboard.press("/")
    opened.keyboard.insert_text("model=vgg11 seed=0")
    expected = [
        target
        for target, run in demo.runs.items()
        if run["counted"] and run["noise"]["rate"] == 0.4 and run["factors"].get("seed") == 0
        if run["factors"].get("model") == "VGG11"
    ]
    assert expected and count_of(opened).startswith(f"{len(expected)} of")
    assert "q=model" in opened.evaluate("location.hash")
    opened.click("#reset")
    assert count_of(opened).startswith("3,916 of")
    opened.click("#search")
    opened.keyboard.insert_text("nonsense=3")
    assert count_of(opened) == "Nothing is called “nonsense”"
    opened.click("#reset")
    opened.evaluate("$('status').value = 'gate_failed'; $('status').onchange({target: $('status')})")
    assert count_of(opened).startswith("3 of")
    opened.click("#reset")
    opened.evaluate("filters.error = [0, 0.3]; filters.lam = [0.3, 0.4]; changed()")
    number = int(count_of(opened).split()[0].replace(",", ""))
    fits = "runs.error.filter((e, i) => e <= 0.3 && runs.low[i] <= 0.4 && runs.high[i] >= 0.3).length"
    assert 0 < number == opened.evaluate(fits)


def test_axes_and_filter_reach_the_largest_lambda(opened) -> None:
    """Tg2 goes up to λ = 0.9: the panels that share their axes hold it, and the filter finds it."""
    assert opened.evaluate("runs.high[byId.get('Tg2/pos1')]") == 0.9
    assert opened.evaluate("Math.max(...runs.high.filter(Number.isFinite)) === highest")
    right = opened.evaluate(
        """(() => {
            const seen = [], draw = drawRuns;
            drawRuns = (ctx, place) => seen.push(place.x(highest));
            const canvas = document.querySelector('.panel canvas');
            drawPanel(canvas, D.experiments[0], found.fits.set);
            drawRuns = draw;
            return Math.max(...seen) / canvas.clientWidth;
        })()"""
    )
    assert 0.8 < right < 1
    assert opened.evaluate("[...$('lam').querySelectorAll('input')].at(-1).max") > "0.9"


def test_a_whole_name_wins_over_its_parts(opened) -> None:
    expected = {
        "A": "54",
        "A seed=0": "18",
        "A seed = 0": "18",
        "A/lam0.35_eta0.4_seed0": "1",
        "method=dual A": "54",
        "C method = ce": "10",
    }
    counted = {}
    for words in expected:
        opened.click("#search")
        opened.keyboard.insert_text(words)
        counted[words] = count_of(opened).split()[0]
        opened.click("#reset")
    assert counted == expected


def test_spaces_around_an_operator_and_a_mistyped_name(opened) -> None:
    for words in ("error>0.8", "error > 0.8"):
        opened.click("#search")
        opened.keyboard.insert_text(words)
        number = int(count_of(opened).split()[0].replace(",", ""))
        assert 0 < number == opened.evaluate("runs.error.filter(error => error > 0.8).length")
        opened.click("#reset")
    opened.click("#search")
    opened.keyboard.insert_text("widht_mult=2")
    assert count_of(opened) == "Nothing is called “widht_mult”; did you mean width_mult?"
    opened.click("#reset")


def test_runs_can_be_sorted_by_error(opened) -> None:
    opened.click("#heads button[data-key=error]")
    count_of(opened)
    errors = opened.evaluate("found.fits.map(i => runs.error[i]).filter(error => !Number.isNaN(error))")
    assert errors == sorted(errors)
    opened.click("#heads button[data-key=error]")
    count_of(opened)
    errors = opened.evaluate("found.fits.map(i => runs.error[i]).filter(error => !Number.isNaN(error))")
    assert errors == sorted(errors, reverse=True)
    opened.click("#heads button[data-key=error]")


def test_legends_are_in_order_and_neighbours_differ(opened) -> None:
    widths = opened.evaluate(
        """(() => {
            const levels = [2, 0.5, 1];
            return [inOrder(levels), levels.map(one => levelColour(levels, one))];
        })()"""
    )
    assert widths[0] == [0.5, 1, 2] and len(set(widths[1])) == 3
    labels = opened.evaluate(
        "D.experiments.filter(one => one.name === 'Q1').flatMap(one => [...new Set(one.runs.map(lineLabel(one)))])"
    )
    assert sorted(labels) == ["width mult 0.5", "width mult 1", "width mult 2"]


def test_an_address_that_names_nothing_says_so(browser, page) -> None:
    with open_page(browser, f"{page.as_uri()}#exp=A,Zeta&run=A/nothing") as one:
        ready(one)
        said = one.evaluate("$('strange').hidden ? '' : $('strange').textContent")
        assert "experiment “Zeta”" in said and "run “A/nothing”" in said
        one.click("#reset")
        assert count_of(one).startswith("3,916 of") and one.evaluate("$('strange').hidden")
    with open_page(browser, f"{page.as_uri()}#seed=abc&lam=high&error=0.1-0.2") as one:
        ready(one)
        said = one.evaluate("$('strange').textContent")
        assert "seed “abc”" in said and "range “lam=high”" in said and "error" not in said


def test_the_filters_come_back_where_nothing_is_there_to_open_them_by(browser, page) -> None:
    with open_page(browser, page.as_uri()) as one:
        one.set_viewport_size({"width": 768, "height": 900})
        one.reload()
        ready(one)
        assert one.evaluate("$('filterbox').open") is False
        one.set_viewport_size({"width": 1024, "height": 768})
        wait(one, "$('filterbox').open")


def test_the_runs_in_the_list_can_be_taken_along(opened) -> None:
    opened.click("#search")
    opened.keyboard.insert_text("K seed=1")
    count_of(opened)
    saved = opened.evaluate(
        """(async () => {
            let link;
            const create = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
            URL.createObjectURL = blob => (link = blob, 'blob:none');
            HTMLAnchorElement.prototype.click = function () {};
            $('save').click();
            Object.assign(URL, { createObjectURL: create });
            HTMLAnchorElement.prototype.click = click;
            return await link.text();
        })()"""
    )
    rows = list(csv.DictReader(io.StringIO(saved)))
    assert len(rows) == 12 and {row["experiment"] for row in rows} == {"K"}
    assert {row["seed"] for row in rows} == {"1"} and all(float(row["test_error"]) > 0 for row in rows)
    opened.click("#reset")


def test_from_all_to_one_experiment_to_one_run_and_back(opened) -> None:
    opened.evaluate("[...document.querySelectorAll('.panel')].find(one => one.textContent.startsWith('K'))"
                    ".scrollIntoView()")  # fmt: skip
    opened.evaluate(
        "[...document.querySelectorAll('.panel')].find(one => one.textContent.startsWith('K')).id = 'K'"
    )
    opened.click("#K")
    assert count_of(opened).startswith("60 of")
    assert "exp=K" in opened.evaluate("location.hash")
    assert opened.evaluate("document.querySelectorAll('.means tbody tr').length") == 6
    point = opened.evaluate(
        """(() => {
            const box = $('scatter').getBoundingClientRect(), { x, y } = $('scatter').points[0];
            return [box.x + x, box.y + y];
        })()"""
    )
    opened.mouse.click(*point)  # the first run's dot, or that of a seed on top of it
    name = wait(opened, "document.querySelector('.runhead h2')?.textContent")
    assert name.startswith("lam0.3_eta0.4_seed")
    text = opened.evaluate("document.getElementById('content').innerText")
    assert f"snakemake results/demo/runs/K/{name}.json --cores 1" in text
    assert "final test error" in text and "Protocol" in text and "SGD" in text
    opened.keyboard.press("Escape")
    wait(opened, "!document.querySelector('.runhead') && document.getElementById('scatter')")
    opened.keyboard.press("Escape")
    wait(opened, "document.querySelectorAll('.panel').length === 68")
    opened.evaluate("history.back()")
    wait(opened, "document.getElementById('scatter')")


def test_by_keyboard_alone(opened) -> None:
    opened.keyboard.press("/")
    opened.keyboard.insert_text("R1a")
    count_of(opened)
    opened.keyboard.press("ArrowDown")
    assert opened.evaluate("document.activeElement.id") == "rows"
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Enter")
    wait(opened, "document.querySelector('.runhead h2')?.textContent === 'seed1'")
    assert opened.evaluate("$('rows').getAttribute('aria-activedescendant')") == "row1"
    opened.keyboard.press("]")
    wait(opened, "document.querySelector('.runhead h2').textContent === 'seed2'")
    opened.keyboard.press("End")
    wait(opened, "document.querySelector('.runhead h2').textContent === 'seed9'")
    opened.keyboard.press("?")
    assert opened.evaluate("$('manual').open")
    opened.keyboard.press("Escape")
    wait(opened, "!$('manual').open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_address_opens_its_run(browser, page, scheme, tmp_path) -> None:
    with open_page(browser, f"{page.as_uri()}#run={BRANCHES}", (1366, 768), dark=scheme == "dark") as one:
        wait(one, "document.getElementById('trajectory')")
        assert one.evaluate("document.documentElement.dataset.theme") == scheme
        assert one.evaluate("document.querySelector('.crumbs').innerText").split("\n") == [
            "All experiments", "›", "V1", "›", "seed1"
        ]  # fmt: skip
        assert one.evaluate("document.querySelectorAll('.stages tbody tr').length") == 4
        assert one.evaluate("$('trajectory').points.length") == 5 + 4 + 9 + 9
        assert one.evaluate("document.documentElement.scrollWidth") <= 1366
        one.click("#theme")
        assert one.evaluate("document.documentElement.dataset.theme") != scheme


def test_a_run_that_is_not_made_says_how_to_make_it(browser, page) -> None:
    with open_page(browser, f"{page.as_uri()}#run={MISSING}") as one:
        ready(one)
        text = one.evaluate("document.getElementById('content').innerText")
        assert "has not been made yet" in text and f"runs/{MISSING}.json" in text


def test_on_a_narrow_screen(browser, page) -> None:
    with open_page(browser, page.as_uri(), (420, 800)) as one:
        ready(one)
        assert one.evaluate("document.documentElement.scrollWidth") <= 420
        assert not one.evaluate("$('filterbox').open")
