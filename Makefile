# The two commands of a newcomer are `make demo` and `make test`. They need Python 3.11 to 3.13 and a package index and
# bring everything else, uv included, into .venv and .tools. PYTHON=… names the interpreter to use.
.DEFAULT_GOAL := help
.PHONY: help setup demo lint test test-all wheel lock docs clean
bin := .venv/bin
# Two workers, because half of the time goes into imports and waiting for servers; a file's tests stay together so that
# what a module sets up once is set up once.
pytest := $(bin)/pytest -n 2 --dist loadscope --cov --cov-report=term

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup:  ## install everything into .venv (the targets below do it themselves)
	@PYTHON='$(PYTHON)' sh env/install.sh

demo: setup  ## from the diabetes data to a production endpoint, in six scenes
	@sh demo/play.sh

lint: setup  ## formatting, lint, types, and the architecture's contracts
	@echo "lint: ruff" && $(bin)/ruff check --quiet . && $(bin)/ruff format --quiet --check .
	@echo "lint: mypy" && $(bin)/mypy --no-error-summary
	@echo "lint: import contracts" && $(bin)/lint-imports --no-logo

test: lint  ## lint and all tests but the slow ones, with coverage: at most 10 minutes
	@echo "test: all but the slow ones"
	@$(pytest) -m "not slow"

test-all: lint  ## the slow ones too: kill matrices, large data, wheels in empty environments
	@echo "test: all, the slow ones too; at the end, one by one, those that want the GPU pool for themselves"
	@$(pytest) -m "not alone" --cov-report= --cov-fail-under=0
	@$(bin)/pytest -m alone --cov --cov-append --cov-report=term

wheel: setup  ## build dist/ridgeway-….whl, for projects where no package index has ridgeway; prints its path
	@rm -f dist/ridgeway-*.whl && uv=$$(PYTHON='$(PYTHON)' sh env/install.sh uv) && \
	    "$$uv" build --quiet --wheel --no-build-isolation --python $(bin)/python --out-dir dist && ls "$$PWD"/dist/ridgeway-*.whl

lock:  ## pin the versions of env/requirements.txt anew (UPGRADE=--upgrade takes the newest ones)
	@uv=$$(PYTHON='$(PYTHON)' sh env/install.sh uv) && echo "lock: env/requirements.txt" && \
	    "$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	    --group dev pyproject.toml --output-file env/requirements.txt $(UPGRADE) >/dev/null

docs: setup  ## write the pages that are made from the program itself: commands and settings
	@$(bin)/python docs/generate.py

clean:  ## remove all that the other targets made
	@if [ -x $(bin)/ridgeway ] && [ -d .ridgeway/demo ]; then (cd .ridgeway/demo && ../../$(bin)/ridgeway down) || true; fi
	rm -rf .venv .tools .ridgeway dist build .coverage .coverage.* coverage.xml htmlcov .hypothesis .import_linter_cache \
	    .mypy_cache .pytest_cache .ruff_cache
