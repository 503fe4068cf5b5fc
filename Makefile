# Two commands: `make demo` labels the pictures in this repository, `make test` runs the tests. Both make .venv when it's missing.
PYTHON ?= python3
VENV := .venv
OUT ?= demo-labels

.PHONY: demo test test-heavy lock clean

demo: $(VENV)/.installed
	$(VENV)/bin/labelbeam demo --output $(OUT)

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m "not heavy"

# Minutes long; those that need the stand-ins of the published detectors say so when they're skipped.
test-heavy: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m heavy

$(VENV)/.installed: requirements.lock setup.py
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'labelbeam needs Python 3.10 or newer: make PYTHON=python3.11 …')"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Resolves the newest versions that go together, for every Python and platform that labelbeam supports.
lock:
	uv pip compile setup.py --extra test --universal --python-version 3.10 --no-header --output-file requirements.lock

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
