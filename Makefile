# What people do with a checkout. `make` alone lists it.
#
# Everything lives in .venv; a stamp there remembers the pyproject.toml that it was installed from. `make run` installs
# what a server needs and nothing else, the other targets bring the tools of developers with them.

PYTHON ?= python3
SERVER ?= conf/quickstart.py
BIN := .venv/bin

# Which tests: make test TESTS="tests/wire -k reply". SLOW=1 runs the slow ones too, and those with programs of others
# (so does TESTS=tests/interop). COVERAGE=1 measures all of it, and fails when less than 95 % of the core was seen,
# branches counted. JOBS: processes at a time, 0 for none but pytest's own.
TESTS ?=
SLOW ?=
COVERAGE ?=
JOBS ?= $(if $(TESTS),0,auto)
QUICK := not slow$(if $(findstring interop,$(TESTS)),, and not interop)
BENCH ?=
# Examples of each property test in `make fuzz`, and how long each fuzzer runs after them
EXAMPLES ?= 20000
SECONDS ?= 60

.DELETE_ON_ERROR:
.PHONY: help run test lint format bench fuzz clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: .venv/.runs ## start the quickstart server, with a certificate (SERVER=conf/mx.py for another, without)
ifeq ($(SERVER),conf/quickstart.py)
	@$(BIN)/mailstack certs --renew localhost 127.0.0.1 ::1
endif
	$(BIN)/mailstack serve --as-root $(SERVER)

test: .venv/.installed ## the quick tests (TESTS="tests/wire -k reply", SLOW=1 for all of them, COVERAGE=1 to measure)
	$(BIN)/python -m pytest -q -n $(JOBS) $(if $(SLOW),,-m "$(QUICK)") $(if $(COVERAGE),--cov --cov-report=) $(TESTS)
ifdef COVERAGE
	$(BIN)/coverage report --skip-covered --show-missing
	$(BIN)/coverage report --include="mailstack/*" --format=total --fail-under=95
endif

lint: .venv/.installed ## ruff and mypy, as CI asks them
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy mailstack tests

format: .venv/.installed ## let ruff lay out the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.installed ## mailstack beside aiosmtpd (BENCH=--quick for a short round)
	$(BIN)/python -m tests.bench $(BENCH)

fuzz: .venv/.installed ## property tests with many examples, then the fuzzers (EXAMPLES=20000 SECONDS=60)
	MAILSTACK_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q -p tests.fuzz.profile -m hypothesis -o timeout=0 $(TESTS)
	$(BIN)/python -m tests.fuzz.wire --seconds $(SECONDS)
	$(BIN)/python -m tests.fuzz.connection --seconds $(SECONDS)

clean: ## remove whatever git does not keep
	rm -rf .venv build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip reads dependency groups from version 25.1 on. setuptools warns of each editable install; that says nothing here.
PIP_INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check

.venv/.created:
	$(PYTHON) -c 'import sys; sys.exit("mailstack needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --upgrade "pip>=25.1"
	touch $@

.venv/.runs: pyproject.toml | .venv/.created
	$(PIP_INSTALL) --editable ".[certs,uvloop]"
	touch $@

.venv/.installed: pyproject.toml | .venv/.created
	$(PIP_INSTALL) --editable ".[certs,uvloop,trio]" --group dev
# python-ldap has no wheels: it comes where its headers are and it can be built; else its tests are skipped.
ifneq ($(wildcard /usr/include/ldap.h),)
	$(PIP_INSTALL) --editable ".[ldap]" || echo "python-ldap cannot be built here: its tests will be skipped" >&2
endif
	touch $@ .venv/.runs
