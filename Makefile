# Two commands do all the set-up: `make demo` and `make test`. Both need only Python 3.11+, make and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: demo test check format bench clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo    install into $(VENV) and run the whole workflow on the embedded model"
	@echo "make test    install into $(VENV) and run the test suite, on PostgreSQL too where it is installed"
	@echo "make check   formatting, lint, strict types, import contracts"
	@echo "make bench   measure everything that the documents quote: make bench BENCHMARK=DIR [OUT=DIR] [PARTS=…]"
	@echo "make format  rewrite the sources in the project's format"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Installing into $(VENV); the first time takes some minutes (torch is large)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/governance demo

# Two workers of one thread each: torch on two threads beside other work is several times slower than on one. Each begins
# at another end of the suite, so that most of what tests share is made once, and takes over from the other when done.
# The many processes that tests start need what was compiled before, so it is kept whatever the environment says.
WORKERS ?= 2
test: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

OUT ?= build/bench
bench: $(STAMP)
	$(BIN)/python -m bench $(PARTS) $(if $(BENCHMARK),--benchmark $(BENCHMARK)) --out $(OUT)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
