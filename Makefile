# Every target makes the environment it needs with nothing but python3 (3.11 or newer) and pip.
#
#     make demo                                      convert real images, check them, draw them into demo/out
#     make test                                      the tests and every example of the documentation
#     make torture TORTURE=600                       ten minutes of each scenario that tries to lose data
#     make test PYTHON=python3.13 VENV=.venv-3.13    the same on another interpreter
#     make test EVERY=3                              every third case of each test

PYTHON ?= python3
VENV ?= .venv
INTEROP_VENV ?= .venv-interop
TORCH_VENV ?= .venv-torch
NAPARI_VENV ?= .venv-napari
DOCS_VENV ?= .venv-docs
MINIMAL_VENV ?= .venv-minimal
FORMATS_VENV ?= .venv-formats
EMULATORS ?= .venv-js/emulators
TORCH ?= torch>=2.4
JOBS ?= auto
EVERY ?= 1
TORTURE ?= 60

READY = $(VENV)/.ready
LINT_READY = $(VENV)/.ready-lint
INTEROP_READY = $(INTEROP_VENV)/.ready-interop
TORCH_READY = $(TORCH_VENV)/.ready-torch
NAPARI_READY = $(NAPARI_VENV)/.ready-napari
DOCS_READY = $(DOCS_VENV)/.ready-docs
MINIMAL_READY = $(MINIMAL_VENV)/.ready-minimal
FORMATS_READY = $(FORMATS_VENV)/.ready-formats
EMULATORS_READY = $(VENV)/.ready-emulators
# The other libraries need 3.12 or newer. Empty when there is none; looked up only by the targets that use it.
INTEROP_PYTHON = $(shell scripts/newest_python 3.12)

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser test-interop test-minimal test-napari test-torch test-emulators test-formats formats-docs interop-docs docs lint lint-js format bench bench-convert bench-remote torture clean

help: ## say what each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

demo: $(READY) ## turn real images into OME-Zarr, check the stores and draw them into demo/out
	$(VENV)/bin/python demo/make_demo.py

# The tests start hundreds of interpreters, each of which would compile the sources where bytecode may not be written.
test: $(READY) ## run the tests and every example of the documentation
	env -u PYTHONDONTWRITEBYTECODE scripts/in_memory $(VENV)/bin/python -m pytest -q -n $(JOBS) --dist worksteal --every $(EVERY)

test-interop: ## open our stores with other libraries and theirs with lamella
	@if [ -z "$(INTEROP_PYTHON)" ]; then \
	    echo "test-interop: skipped: the other libraries need Python 3.12 or newer, and none runs on PATH or under ~/.pyenv/versions"; \
	else \
	    $(MAKE) --no-print-directory $(INTEROP_READY) && $(INTEROP_VENV)/bin/python -m pytest -q tests/interop; \
	fi

test-browser: $(READY) ## look at stores in Chromium, with and without WebGL
	scripts/need_chromium
	LAMELLA_BROWSER=1 $(VENV)/bin/python -m pytest -q tests/browser

test-napari: $(NAPARI_READY) ## open stores in napari, without a window and with one on a virtual screen
	scripts/need_xvfb
	LAMELLA_XVFB=1 QT_QPA_PLATFORM=offscreen PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
	    $(NAPARI_VENV)/bin/python -m pytest -q -o filterwarnings=default --disable-warnings tests/napari

test-minimal: $(MINIMAL_READY) ## use lamella without extras, and check that what needs one names it
	$(MINIMAL_VENV)/bin/python -W error tests/minimal/use_without_extras.py

test-torch: $(TORCH_READY) ## train on crops with PyTorch, in workers of every kind
	$(TORCH_VENV)/bin/python -m pytest -q tests/torch src/lamella/torch.py

test-emulators: $(EMULATORS_READY) ## read and write every kind of store, those of Azure and Google by emulators of npm and PyPI
	PATH="$$(scripts/need_node $(VENV)/bin/python .venv-js):$$PATH" LAMELLA_EMULATORS=$(EMULATORS) \
	    $(VENV)/bin/python -m pytest -q tests/emulators tests/ops/test_every_store.py

test-formats: ## read files of every format, with every library that reads them, on the newest Python
	@if [ -z "$(INTEROP_PYTHON)" ]; then \
	    echo "test-formats: skipped: the libraries need Python 3.12 or newer, and none runs on PATH or under ~/.pyenv/versions"; \
	else \
	    $(MAKE) --no-print-directory $(FORMATS_READY) && \
	    LAMELLA_FORMATS=1 scripts/in_memory $(FORMATS_VENV)/bin/python -m pytest -q -n $(JOBS) --dist worksteal tests/formats; \
	fi

formats-docs: ## run test-formats and write its table into docs/formats.md
	FORMATS_PAGE=docs/formats.md $(MAKE) --no-print-directory test-formats

interop-docs: ## run test-interop and write its table into docs/interoperability.md
	INTEROP_PAGE=docs/interoperability.md $(MAKE) --no-print-directory test-interop

docs: $(DOCS_READY) ## build the documentation site into docs-site
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build

lint: $(LINT_READY) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lint-js: $(READY) ## check types and style of the viewer's page, with Node from the PATH or from PyPI
	scripts/lint_js $(VENV)/bin/python .venv-js

format: $(LINT_READY) ## lay out the code and mend what ruff can mend
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: ## measure against the floor of this machine, and against iohub where it installs
	@if [ -z "$(BENCH)" ]; then $(MAKE) --no-print-directory $(READY) && $(VENV)/bin/python benchmarks/roof.py --folder benchmarks/out; fi
	@if [ -n "$(INTEROP_PYTHON)" ]; then \
	    $(MAKE) --no-print-directory $(INTEROP_READY) && $(INTEROP_VENV)/bin/python benchmarks/bench.py --peer iohub=iohub.ngff $(BENCH); \
	else \
	    $(MAKE) --no-print-directory $(READY) && $(VENV)/bin/python benchmarks/bench.py $(BENCH); \
	fi

bench-remote: $(READY) ## count requests, rounds and seconds on an object store, and write docs/remote-figures.md
	$(VENV)/bin/python benchmarks/remote.py $(if $(wildcard $(INTEROP_READY)),--peers $(INTEROP_VENV)/bin/python) $(BENCH)

bench-convert: ## measure lamella convert against the floor of this machine, and write the table into docs/benchmarks.md
	@if [ -n "$(INTEROP_PYTHON)" ]; then \
	    $(MAKE) --no-print-directory $(FORMATS_READY) && \
	    $(FORMATS_VENV)/bin/python benchmarks/conversion.py --page docs/benchmarks.md $(BENCH); \
	else \
	    echo "bench-convert: skipped: the libraries need Python 3.12 or newer, and none runs on PATH or under ~/.pyenv/versions"; \
	fi

torture: $(READY) ## try to lose data for TORTURE=60 seconds per scenario, and write the figures into the docs
	$(VENV)/bin/python -m torture --seconds $(TORTURE) --page docs/torture.md $(SCENARIOS)

clean: ## remove environments, caches and everything that was made
	rm -rf .venv .venv-* build dist docs-site demo/out benchmarks/out
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per environment and what is installed into it, so that two targets can share one (make docs DOCS_VENV=.venv).
$(READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(PYTHON)" "$(VENV)" test
	@touch $@

$(LINT_READY): $(READY)
	scripts/make_venv "$(PYTHON)" "$(VENV)" lint
	@touch $@

$(MINIMAL_READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(PYTHON)" "$(MINIMAL_VENV)"
	@touch $@

$(INTEROP_READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(INTEROP_PYTHON)" "$(INTEROP_VENV)" interop
	@touch $@

$(FORMATS_READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(INTEROP_PYTHON)" "$(FORMATS_VENV)" formats
	@touch $@

$(NAPARI_READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(PYTHON)" "$(NAPARI_VENV)" napari
	@touch $@

$(TORCH_READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(PYTHON)" "$(TORCH_VENV)" test
	$(TORCH_VENV)/bin/python -m pip --disable-pip-version-check -qq install "$(TORCH)"
	@touch $@

$(EMULATORS_READY): $(READY) scripts/make_emulators
	scripts/make_emulators $(VENV)/bin/python .venv-js $(EMULATORS)
	@touch $@

$(DOCS_READY): pyproject.toml scripts/make_venv
	scripts/make_venv "$(PYTHON)" "$(DOCS_VENV)" docs
	@touch $@
