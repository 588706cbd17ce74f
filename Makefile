# Two commands do everything: `make book` builds the site, `make test` proves it. Each sets up what it needs.
PYTHON ?= python3
# Every interpreter has an environment of its own: .venv for the default, .venv-python3.12 for PYTHON=python3.12.
VENV   ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
SITE    = _build/html/index.html
JOBS   ?= 2
# notebooks, execute and claims take CHAPTER=01_medvlm, portable and claims take SETTING=sse41: a part of the work.
CHAPTER ?=
SETTING ?=
LESSONS = $(if $(CHAPTER),$(addprefix book/,$(CHAPTER)),book)
PORTABLE = $(BIN)/python tests/book/portable.py --setting $(SETTING) --chapter $(CHAPTER) --

# Two threads on a busy machine are slower than one; two processes of one thread are not.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export PYTHONHASHSEED = 0

.DEFAULT_GOAL := help
.PHONY: help setup book test unit notebooks numeric portable claims check lab exercises execute results clean

# Tests whose numbers come from kernels; `make portable` runs them and the notebooks under several numeric settings.
NUMERIC = $(wildcard $(addprefix tests/,attacks certify evaluate models reports train properties parity test_objective.py test_threat.py))

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

setup: $(READY)  ## create .venv and install everything (the others call it; a second run does nothing)

$(READY): pyproject.toml constraints.txt
	@echo "== setting up $(VENV) (once; PyTorch is large, this takes some minutes)"
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) cannot be started. Install it, or call make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("medadv needs Python 3.10 or newer; found " + sys.version.split()[0] + ". Call make PYTHON=python3.12 ...") if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[course,full,dev]'
	@touch $@
	@echo "== $(VENV) is ready"

book: $(READY)  ## build the course site into _build/html
	@echo "== building the book from its committed outputs"
	@$(BIN)/jupyter-book build . -n -W --keep-going --quiet
	@echo "== done: open _build/html/index.html"

test: check unit notebooks  ## run all tests: style, types, unit tests, the site, every notebook
	@echo "== all passed"

check: $(READY)  ## style and types
	@echo "== ruff and mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

unit: $(READY)  ## unit, property and site tests
	@echo "== unit tests"
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

notebooks: $(READY)  ## run every notebook of the book and compare its outputs (nbval)
	@echo "== notebooks"
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --nbval --nbval-current-env \
		--nbval-cell-timeout=600 --nbval-sanitize-with=tests/book/nbval_sanitize.cfg -W ignore $(LESSONS)

numeric: $(READY)  ## the unit tests whose numbers come from kernels
	@echo "== numeric tests"
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(NUMERIC)

portable: $(READY)  ## notebooks and numeric tests under four numeric settings, or SETTING=...
	@$(PORTABLE) notebooks numeric

claims: $(READY)  ## notebooks under four numeric settings, or SETTING=...; writes claims.json
	@$(PORTABLE) notebooks

lab: $(READY)  ## open JupyterLab on the book
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) book

exercises: $(READY)  ## write exercises.ipynb and solutions.ipynb anew from their masters
	@$(BIN)/python -m medadv.course.build

execute: $(READY)  ## run all lessons again in place, for publication, then write the exercises anew
	@printf '%s\n' $(sort $(wildcard $(if $(CHAPTER),$(LESSONS:%=%/0*.ipynb),book/*/0*.ipynb))) \
		| HF_HUB_OFFLINE=1 xargs -n 1 -P $(JOBS) $(BIN)/python -m medadv.course.build --execute
	@HF_HUB_OFFLINE=1 $(BIN)/python -m medadv.course.build $(if $(CHAPTER),$(LESSONS))

results: $(READY)  ## list the stored results, the command that makes each and the minutes it took
	@$(BIN)/python -m medadv.course.study

clean:  ## remove what was built (.venv stays; remove it by hand)
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
