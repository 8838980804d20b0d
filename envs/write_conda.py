"""Write workflow/envs/dualgrad.yaml from requirements.txt, for `snakemake --software-deployment-method conda`.

The pins are listed, not referred to: Snakemake creates the environment from a copy of the file alone. It reads it in
every workflow, with conda or not, so the file lies among the workflow's.

pip looks at what its packages ask for and, because the pins carry hashes, takes nothing without one. So what
Snakemake asks for and pip would have to build, connection_pool, is conda's.
"""

from pathlib import Path

HERE = Path(__file__).parent
PYTHON = "3.11"  # as in dualgrad.def

HEAD = f"""\
# Written by envs/write_conda.py from envs/requirements.txt, which is where pins are changed.
name: dualgrad
channels: [conda-forge]
dependencies:
  - python={PYTHON}
  - pip
  - connection_pool=0.0.3
  - pip:
"""


def pins() -> list[str]:
    """Return what requirements.txt pins, each with its hashes in one line."""
    text = (HERE / "requirements.txt").read_text().replace("\\\n", "")
    return [
        " ".join(line.split()) for line in text.splitlines() if line and not line.lstrip().startswith("#")
    ]


def content() -> str:
    """Return the text of dualgrad.yaml."""
    return HEAD + "".join(f'      - "{pin}"\n' for pin in pins())


if __name__ == "__main__":
    (HERE.parent / "workflow" / "envs" / "dualgrad.yaml").write_text(content())
