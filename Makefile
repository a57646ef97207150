# make run        run the stack in the foreground; Ctrl-C stops it
# make cluster    run three brokers and four hosts on this machine; Ctrl-C stops and removes them
# make check      lint, unit tests, 100 seeds of the simulation, one stack
# make test       run all tests
# make mutants    plant bugs and show which test catches which: none may survive
# make chaos      break private stacks in every way, in under 15 minutes, and write the results into
#                 report/chaos and performance_report.md; fails if a hypothesis does not hold or a
#                 goal is missed; `python -m chaos.standard_set NAME` records one experiment anew
# make cluster-chaos  break private clusters in every way, in under 15 minutes, and write the results
#                 into report/cluster_chaos and the report; fails if a hypothesis does not hold;
#                 `python -m chaos.cluster_set NAME` records one experiment anew
# make bench      measure private stacks, the floor and the alternatives, in under 15 minutes, and
#                 write the figures into report/bench
# make watched    measure a private stack while browsers show its dashboard, in two minutes, and
#                 write the figures into report/bench
# make cluster-bench  measure three brokers and four hosts on this machine, in under six minutes, and
#                 write the figures into report/bench
# make report     write performance_report.md, its details and plots from the figures in report; fails
#                 if these are of another plan, or of other roles, than those of today
# make logs       follow all logs, merged; ROLE=gateway and LEVEL=warning show less
# make video      record video.mp4: real terminals and the dashboard, on a virtual display
# make simulate   simulate SEEDS=10000 stacks and CLUSTERS=2000 clusters under seeded faults, on all
#                 cores, from FIRST=0 on
# make fuzz       have each port of a private stack look at INPUTS=1000000 random and mutated inputs,
#                 by SEED=1, in some 17 minutes; fails if a role dies, hangs or grows
# make lint       check style, types, and which room may import which
#
# Each first makes the virtual environment if it is missing or older than requirements.txt.
# Another Python: make PYTHON=python3.12 run

PYTHON ?= python3
VENV := .venv
SEEDS ?= 10000
CLUSTERS ?= 2000
FIRST ?= 0
WORKERS ?= 2
INPUTS ?= 1000000
SEED ?= 1
WRITE_REPORT := $(VENV)/bin/python -m report
# Tests mostly wait, so two at a time. A file is one worker's: its tests may share
# a stack. The long files come first.
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
ONE_STACK := test_the_stack_trades_before_and_after_a_kill_and_leaves_nothing_behind

# With it, Python would not look for modules in the project.
unexport PYTHONSAFEPATH

.PHONY: run cluster check test mutants chaos cluster-chaos bench watched cluster-bench report logs \
        video simulate fuzz lint

run: $(VENV)/installed
	$(VENV)/bin/python main.py

cluster: $(VENV)/installed-cluster
	$(VENV)/bin/python cluster.py

# The quick part, to run before each commit.
check: lint
	$(PYTEST) tests/integration/test_supervision.py::$(ONE_STACK) tests/unit
	$(VENV)/bin/python -m tests.simulation --seeds 100

test: $(VENV)/installed-cluster
	$(PYTEST)

mutants: $(VENV)/installed
	$(VENV)/bin/python -m tests.mutants

# The report also shows what does not hold. An interrupted run writes no report. Exit code 1 of the
# report says that figures of the bench are outdated: that is not what this checks.
define RECORD
@$(VENV)/bin/python -m $(1); held=$$?; \
    [ $$held -gt 1 ] || { $(WRITE_REPORT); [ $$? -le 1 ]; } || exit 2; exit $$held
endef

chaos: $(VENV)/installed-bench
	$(call RECORD,chaos.standard_set)

cluster-chaos: $(VENV)/installed-bench $(VENV)/installed-cluster
	$(call RECORD,chaos.cluster_set)

# Each writes its figures at the end, all at once: an interrupted run changes nothing.
bench: $(VENV)/installed-bench
	$(VENV)/bin/python -m bench --json report/bench/results.json

watched: $(VENV)/installed
	$(VENV)/bin/python -m bench --watched --json report/bench/watched.json

cluster-bench: $(VENV)/installed-cluster
	$(VENV)/bin/python -m bench --cluster --json report/bench/cluster.json

report: $(VENV)/installed-bench
	@$(WRITE_REPORT)

logs: $(VENV)/installed
	@$(VENV)/bin/python -m lib.log_view $(if $(ROLE),--role $(ROLE)) $(if $(LEVEL),--level $(LEVEL))

video: $(VENV)/installed
	@$(VENV)/bin/python -m video

simulate: $(VENV)/installed
	$(VENV)/bin/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)
	$(VENV)/bin/python -m tests.simulation --clusters --seeds $(CLUSTERS) --first $(FIRST)

fuzz: $(VENV)/installed
	$(VENV)/bin/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED)

lint: $(VENV)/installed $(VENV)/lint/installed
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy
	$(VENV)/lint/bin/lint-imports

# The file marks a complete installation; the directory alone could be half of one.
$(VENV)/installed: requirements.txt
	@command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON) not found; Tradewire needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Tradewire needs Python 3.11 or newer, and $(PYTHON) is" \
	        "$$($(PYTHON) -V 2>&1): make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-bench: requirements-bench.txt $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

$(VENV)/installed-cluster: requirements-cluster.txt $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-cluster.txt
	@touch $@

$(VENV)/lint/installed: requirements-lint.txt $(VENV)/installed
	$(PYTHON) -m venv $(VENV)/lint
	$(VENV)/lint/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-lint.txt
	@touch $@
