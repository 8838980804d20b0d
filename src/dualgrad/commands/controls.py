"""Answer the controls: what the published census cannot tell apart, from experiments that vary one thing alone.

Reads the controls' tables or records, and writes controls.json and controls.md. (`snakemake controls` trains them
first.)

    dualgrad controls --edition demo
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from dualgrad.arguments import FOLDER, json_option, output_option, results_option, verb


@verb
@results_option()
@output_option(type=FOLDER, help="folder to write (default: the edition's results)")
@json_option(help="print the answers as JSON, write nothing")
def run(args: SimpleNamespace) -> int:
    """Write or print the answers."""
    from dualgrad.controls import answer, markdown, plain
    from dualgrad.project import load_project
    from dualgrad.records import RecordError, write_atomically
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    results = args.results or project.results
    try:
        data = plain(answer(project.census, results), project.edition)
    except (TableError, RecordError) as error:
        print(f"dualgrad controls: {error}", file=sys.stderr)
        return 1
    text = json.dumps(data, indent=1, ensure_ascii=False)
    if args.json:
        print(text)
        return 0
    output = args.output or results
    write_atomically(output / "controls.json", f"{text}\n".encode())
    write_atomically(output / "controls.md", markdown(data).encode())
    for name, one in data["controls"].items():
        print(f"{name}: {one['question']}")
        for sentence in one["sentences"]:
            print(f"  {sentence}")
    print(f"{output / 'controls.md'}")
    return 0
