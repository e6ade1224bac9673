# Retouch: every door of the project. `make help` lists them; `make check` is what CI runs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# uv brings its own certificates; a company's proxy is known to the system's.
export UV_SYSTEM_CERTS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

# Where it is set, every process of the stack compiles some 1,600 modules anew: a second of CPU and 20 MB each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

DISTRIBUTIONS := . producer worker ops

$(STAMP): pyproject.toml producer/pyproject.toml worker/pyproject.toml ops/pyproject.toml requirements.lock bootstrap.lock
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Retouch needs Python 3.11 or later, this is " + sys.version'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes -r bootstrap.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(DISTRIBUTIONS:%=--editable %)
	@touch $(STAMP)

.PHONY: setup
setup: $(STAMP) ## Make the virtual environment from the locked packages

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(STAMP) ## Edit one real photograph through the whole path, and stop
	@$(BIN)/retouch demo $(ARGS)

.PHONY: up
up: $(STAMP) ## Run the whole local stack until Ctrl-C
	@$(BIN)/retouch up $(ARGS)

.PHONY: test
test: $(STAMP) ## Pass the tests (ARGS="-k lane tests/unit" narrows them)
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile $(ARGS)

.PHONY: seed-examples
seed-examples: $(STAMP) ## Run the endpoint's own examples in five languages against the gateway
	@$(BIN)/python -m pytest tests/examples_seed/test_seed_examples.py tests/examples_seed/all_languages.py $(ARGS)

.PHONY: dist
dist: $(STAMP) ## Build all distributions into dist/, byte for byte the same each time
	@rm -rf dist && for folder in $(DISTRIBUTIONS); do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --no-build-isolation \
			--python $(BIN)/python --out-dir $(CURDIR)/dist $$folder || exit 1; done
	@ls dist

.PHONY: install-test
install-test: $(STAMP) ## Install the wheels as users do, in clean environments of each Python that is here, and use them
	@$(BIN)/python -m pytest tests/install/test_clean_environments.py tests/install/installations.py $(ARGS)

.PHONY: image-test
image-test: $(STAMP) ## Start the image and docker-compose.yml in a real engine (Linux, root, tests/containers/README.md)
	@$(BIN)/python -m pytest tests/containers/image_and_compose.py $(ARGS)

.PHONY: browser-test
browser-test: $(STAMP) ## Open every page of the console in Chromium (Debian's package), see docs/console.md
	@test -x /usr/bin/chromium || { [ "$$(id -u)" = 0 ] && apt-get install -qq --no-install-recommends chromium >/dev/null; }
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r browser.lock
	@$(BIN)/python -m pytest tests/browser/pages.py tests/browser/actions.py tests/browser/live.py tests/browser/streams.py \
		tests/browser/accounts_and_money.py $(ARGS)

.PHONY: screenshots
screenshots: $(STAMP) ## Make the console's pictures of README.md and docs/console.md anew, in Chromium
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r browser.lock
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

.PHONY: alerts-test
alerts-test: $(STAMP) ## Test the alerts, fire each one once, and evaluate the dashboard on a real Prometheus (Debian's package)
	@$(BIN)/python -m tests.alerts.prometheus || { [ "$$(id -u)" = 0 ] && apt-get install -qq --no-install-recommends prometheus >/dev/null; }
	@$(BIN)/python -m pytest tests/alerts/fired_alerts.py $(ARGS)

.PHONY: openapi-lint
openapi-lint: $(STAMP) ## Hold the gateway's OpenAPI description to a linter from npm
	@mkdir -p var && $(BIN)/python -m retouch_producer.gateway.openapi_file > var/openapi.json
	@npx --yes @redocly/cli@2 lint var/openapi.json

.PHONY: chaos
chaos: $(STAMP) ## Kill workers at named points and audit the books (ARGS="--kills 1000 --seed 7 --max-charges 1")
	@$(BIN)/python -m tests.chaos.kill_storm $(ARGS)

.PHONY: soak
soak: $(STAMP) ## Ten minutes at full rate under random endpoint faults; counts what grew or stayed (ARGS="--minutes 2")
	@$(BIN)/python -m tests.chaos.soak $(ARGS)

.PHONY: hostile
hostile: $(STAMP) ## Let one tenant do everything hostile beside a quiet one (ARGS="--seconds 20 --only lists")
	@$(BIN)/python -m tests.hostile.run $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check format, lint, types and import contracts; Lua too where luacheck is installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if command -v luacheck >/dev/null; then luacheck --quiet --no-color .luacheckrc retouch/store/lua; \
	elif [ "$$CI" = true ]; then echo "retouch/store/lua cannot be checked: luacheck is not installed, as CI must have it" >&2; exit 1; \
	else echo "retouch/store/lua was not checked: luacheck is not installed (Debian: apt-get install lua-check; macOS: brew install luacheck)"; fi

.PHONY: check
check: lint test ## All that CI runs: lint, then test

.PHONY: fmt
fmt: $(STAMP) ## Rewrite the code in the house format, and the pages that are made from it
	$(BIN)/ruff check --select I --fix --quiet .
	$(BIN)/ruff format .
	$(BIN)/python -m retouch_ops.settings_docs
	$(BIN)/python -m retouch_ops.cli_docs
	$(BIN)/python -m retouch_ops.dashboard

.PHONY: bench
bench: $(STAMP) ## Measure against no queue and plain Celery; prints a table of ratios
	@$(BIN)/retouch bench $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
	--python-version 3.11
# One lock of all that others made: our own distributions come from their folders.
MEMBERS := producer/pyproject.toml worker/pyproject.toml ops/pyproject.toml $(foreach name,retouch retouch-producer retouch-worker retouch-ops,--no-emit-package $(name))

.PHONY: lock
lock: $(STAMP) ## Choose package versions anew and write all locks with hashes
	$(COMPILE) --upgrade --extra dev pyproject.toml $(MEMBERS) --output-file requirements.lock
	$(COMPILE) --extra otel --extra s3 --constraint requirements.lock pyproject.toml $(MEMBERS) --output-file image.lock
	$(COMPILE) --extra browser --constraint requirements.lock pyproject.toml --output-file browser.lock
	printf 'uv\nhatchling\neditables\n' | $(COMPILE) --upgrade - --output-file bootstrap.lock

.PHONY: clean
clean: ## Remove the virtual environment, caches and local state
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache var out dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
