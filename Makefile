# make run        the stack in the foreground, Ctrl-C stops it
# make test       all tests
# make chaos      breaks private stacks in every way, in under 15 minutes, and writes what came of it
#                 into report/chaos and performance_report.md; fails if a hypothesis does not hold,
#                 or a goal is missed
# make bench      measures private stacks, the floor and the alternatives, in under 15 minutes, and
#                 puts the figures into report/bench
# make watched    measures a private stack while browsers show its dashboard, in two minutes, and puts
#                 the figures into report/bench
# make report     writes performance_report.md and its plots anew from what is recorded in report
# make logs       follows all logs, merged; ROLE=gateway and LEVEL=warning show less
# make video      records video.mp4: real terminals and the dashboard, on a virtual display
# make simulate   SEEDS=10000 simulated stacks under seeded faults, on all cores; FIRST=0 the first
# make lint       style, types, and which room may import which
#
# Each makes the virtual environment first where it is missing or older than requirements.txt.
# Another Python: make PYTHON=python3.12 run

PYTHON ?= python3
VENV := .venv
SEEDS ?= 10000
FIRST ?= 0
WRITE_REPORT := $(VENV)/bin/python -m chaos.report && $(VENV)/bin/python -m bench.report.pages

.PHONY: run test chaos bench watched report logs video simulate lint

run: $(VENV)/installed
	$(VENV)/bin/python main.py

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest

# What does not hold belongs into the report too; an interrupted recording does not.
chaos: $(VENV)/installed-bench
	@$(VENV)/bin/python -m chaos.standard_set; held=$$?; \
	    [ $$held -gt 1 ] || { $(WRITE_REPORT); } || exit; exit $$held

# Each writes its figures when it has all of them: an interrupted one changes nothing.
bench: $(VENV)/installed-bench
	$(VENV)/bin/python -m bench --json report/bench/results.json
	$(VENV)/bin/python -m bench.profile --json report/bench/profile.json

watched: $(VENV)/installed-bench
	$(VENV)/bin/python -m bench.watched --json report/bench/watched.json

report: $(VENV)/installed-bench
	@$(WRITE_REPORT)

logs: $(VENV)/installed
	@$(VENV)/bin/python -m lib.log_view $(if $(ROLE),--role $(ROLE)) $(if $(LEVEL),--level $(LEVEL))

video: $(VENV)/installed
	@$(VENV)/bin/python -m video

simulate: $(VENV)/installed
	$(VENV)/bin/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

lint: $(VENV)/installed
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/lint-imports

# The file says that an installation came to its end; the directory alone does not.
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
