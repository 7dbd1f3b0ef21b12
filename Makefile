# KalshiBook. `make` lists the commands.
# The machine brings Python 3.11 or later and make; everything else is fetched, pinned, into .uv/ and $(VENV)/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
VENV ?= .venv
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		&& { command -v "$$candidate"; break; }; done)

# The installer carries root certificates of its own and would fetch a Python of its own: both are the machine's.
export UV_SYSTEM_CERTS := 1
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

UV := .uv/bin/uv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
NEEDS_PYTHON = "$(or $(PYTHON),false)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "KalshiBook needs Python 3.11 or later: install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; }

# More for pytest, such as ARGS="-k book", or ARGS="-n 2 --dist loadfile" for two tests at a time; of image for the
# builder, such as ARGS="--build-arg BASE=python:3.13-slim-bookworm".
ARGS ?=

.PHONY: help up test check bench fault image lock
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.uv/$(UV_VERSION):
	@$(NEEDS_PYTHON)
	@echo "fetching the installer (uv $(UV_VERSION), once) ..."
	@rm -rf .uv
	@"$(PYTHON)" -m venv .uv >/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)" >&2; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --quiet "uv==$(UV_VERSION)"
	@touch $@

$(READY): .uv/$(UV_VERSION) requirements.lock pyproject.toml sdk/pyproject.toml
	@echo "installing the pinned dependencies into $(VENV) (about 130 MB the first time) ..."
	@[ -x $(RUN)/python ] || { $(NEEDS_PYTHON); }
	@[ -x $(RUN)/python ] || $(UV) venv --quiet --python "$(PYTHON)" $(VENV)
	@$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(RUN)/python requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python $(RUN)/python -e . -e sdk
	@touch $@

up: $(READY) ## run the whole product here; Ctrl-C stops it
	@exec $(RUN)/kalshibook up
test: $(READY) ## run the tests
ifeq ($(ARGS),)
	@$(RUN)/pytest -m "not fault" -n 2 --dist loadfile --ignore tests/e2e
	@exec $(RUN)/pytest -m "not fault" tests/e2e  # by themselves: they hold answers against the moment of sending
else
	@exec $(RUN)/pytest -m "not fault" $(ARGS)
endif
check: $(READY) ## lint, formatting, types and the arrows between packages
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-logo
bench: $(READY) ## measure; prints ratios
	@exec $(RUN)/python -m bench all
fault: $(READY) ## crash and network faults with real processes; takes minutes
	@exec $(RUN)/pytest -m fault $(ARGS)
image: ## build the container image by docker, or by buildah
	@exec docker/build $(ARGS)
lock: .uv/$(UV_VERSION) ## resolve the dependencies anew into requirements.lock
	@$(UV) pip compile --quiet --no-config --universal --generate-hashes --python-version 3.11 --upgrade \
		--group dev --no-emit-package kalshibook --custom-compile-command "make lock" \
		--output-file requirements.lock pyproject.toml sdk/pyproject.toml
