"""Write workflow/envs/dualgrad.yaml from requirements.txt, for `snakemake --software-deployment-method conda`.

The pins are listed, not referred to: Snakemake creates the environment from a copy of the file alone. It reads it in
every workflow, with conda or not, so the file lies among the workflow's.
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
  - pip:
"""


def pins() -> list[str]:
    """Return what requirements.txt pins."""
    lines = (HERE / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def content() -> str:
    """Return the text of dualgrad.yaml."""
    return HEAD + "".join(f"      - '{pin}'\n" for pin in pins())


if __name__ == "__main__":
    (HERE.parent / "workflow" / "envs" / "dualgrad.yaml").write_text(content())
