# Everything from a bare machine with Python 3.11, 3.12 or 3.13, make and a network.
#
#   make figures    Figures 1-5 in miniature, in figures/main (edition demo; minutes on two cores)
#   make test       the whole test suite
#   make lint       formatting, static checks, types; the pages' scripts where node is there
#   make coverage   the tests again, and what they reach of the package: htmlcov/index.html (ARGS='-m unit')
#   make docs       the documents as a site: open site/index.html
#   make setup      .venv alone: pinned packages, this package, and a `snakemake` that takes targets last
#   make pins       pins and hashes anew from envs/requirements.in (needs uv; UPGRADE=--upgrade for newer versions)
#   make clean      removes .venv; results, figures and data stay
#
# PYTHON=python3.12 make setup    builds the environment with another interpreter.
# TORCH=cpu make setup            takes PyTorch without CUDA, half of what there is to download (from its own index,
#                                 unlike everything else without hashes of ours).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BIOME := npx --yes @biomejs/biome@2.6.8
READY := $(VENV)/ready

# With uv, where it is installed, in a fraction of the time; with pip otherwise. Both show how far they are. Bytecode is
# written when a module is first imported: compiling all of it up front takes as long as some downloads. But where the
# environment forbids writing it, as some images do, each start of Snakemake would compile for four seconds.
ifdef PYTHONDONTWRITEBYTECODE
UV_COMPILES := --compile-bytecode
PIP_COMPILES := --compile
else
PIP_COMPILES := --no-compile
endif
unexport PYTHONDONTWRITEBYTECODE
ifneq ($(shell command -v uv 2>/dev/null),)
MAKE_VENV = uv venv --quiet --seed --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
INSTALL = uv pip install $(UV_COMPILES) --python $(BIN)/python
else
MAKE_VENV = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install $(PIP_COMPILES) --disable-pip-version-check
endif

# TORCH=cpu: the same versions of torch without CUDA, from PyTorch's own index, which has other wheels with other hashes.
# `make pins` does not know these: the two wheels are checked against what that index itself says of them, so they are
# trusted as far as it is. All other packages, and torch itself without TORCH=cpu, are checked against the pins.
ifeq ($(TORCH),cpu)
NOT_PINNED := torch|torchvision|triton|nvidia-|cuda-
VERSION_OF = $$(sed -n 's/^$(1)==\([0-9.]*\).*/\1/p' envs/requirements.txt)
TORCH_OF_ITS_OWN = $(INSTALL) --no-deps --index-url https://download.pytorch.org/whl/cpu \
  "torch==$(call VERSION_OF,torch)+cpu" "torchvision==$(call VERSION_OF,torchvision)+cpu"
else
NOT_PINNED := none-of-them
TORCH_OF_ITS_OWN := @:
endif

# A process more than cores: many tests wait, for SLURM or for processes that they killed.
TESTS = OMP_NUM_THREADS=1 PYTEST_XDIST_AUTO_NUM_WORKERS=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) $(BIN)/python -m pytest \
  --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: figures test lint coverage docs setup pins clean
.DEFAULT_GOAL := figures

figures: setup
	$(BIN)/snakemake figures/main --cores all

test: setup
	$(TESTS) --durations 20

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	@if $(BIOME) --version >/dev/null 2>&1; then echo "$(BIOME) lint"; $(BIOME) lint --error-on-warnings; \
	  else echo "node, or what npm fetches, is not here: the pages' scripts are not linted"; fi

# Which lines and branches of the package the tests in this process reach; what workers and jobs run is not counted.
coverage: setup
	$(TESTS) --cov dualgrad --cov-branch --cov-report term:skip-covered --cov-report html:htmlcov $(ARGS)

# MkDocs 1 is what the theme is for; its notice about a successor is not for our readers. (Not --quiet: with it, warnings
# are not counted, and a strict build passes.)
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "The site is in site/: open site/index.html"

# A copied or moved clone has an environment that belongs to another folder.
setup: $(READY)
	@found=$$($(BIN)/python -P -c 'import dualgrad, pathlib; print(pathlib.Path(dualgrad.__file__).parents[2])' \
	  2>/dev/null) || found=nothing; [ "$$found" -ef . ] || { \
	  echo "$(VENV) was made for another folder: the package dualgrad that it imports is $$found, not $$(pwd)." \
	    "\`make clean setup\` builds one for this folder." >&2; exit 1; }

# The pins are complete, so nothing is resolved (--no-deps), and wheels with known hashes, so nothing is built.
# Made again when the pins or this package's own declaration change. (Not for Python 3.14: immutables, which Snakemake
# asks for, has no wheel for it.)
$(READY): envs/requirements.txt pyproject.toml src/dualgrad/jobs/launcher.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13, which the pinned packages are for; name another:" \
	    "PYTHON=python3.12 make setup" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) lacks the modules venv and ensurepip (Debian: apt install python3-venv)" >&2; exit 1; }
	$(MAKE_VENV)
	awk '/^[a-z]/ { skip = /^($(NOT_PINNED))/ } !skip' envs/requirements.txt > $(VENV)/requirements.txt
	$(INSTALL) --no-deps --only-binary :all: --requirement $(VENV)/requirements.txt
	$(TORCH_OF_ITS_OWN)
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m dualgrad.jobs.launcher
	touch $@

# connection_pool, which Snakemake asks for but nowhere imports, has no wheel: building one would run unpinned tools.
pins:
	uv pip compile envs/requirements.in --output-file envs/requirements.txt --universal --python-version 3.11 \
	  --generate-hashes --annotation-style line --no-emit-package connection-pool \
	  --only-binary :all: --no-binary connection-pool \
	  --custom-compile-command "make pins" --quiet $(UPGRADE)
	python3 envs/write_conda.py

clean:
	rm -rf $(VENV)
