# `make demo` labels the images in this repository, `make test` runs the tests, `make check` everything that needs no running.
# Each makes or completes .venv with what it needs, in the versions of requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-labels
BEAM := 2.77.0

.PHONY: demo check format test test-heavy bench docs prism store-servers flink flink-smoke spark export-readers lock clean

demo: $(VENV)/.installed
	$(BIN)/labelbeam demo --output $(OUT)

# Lint, format, types, and how the house is kept (tests/test_house.py).
check: $(VENV)/.installed-test
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m pyright
	$(BIN)/python -m pytest --quiet tests/test_house.py

format: $(VENV)/.installed-test
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

# In two processes: those that start others leave little for more. TESTS='tests/storage -x' for some of them.
TESTS ?=
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not heavy" -n 2 --dist worksteal $(TESTS)

# Those that take longer; those that need the stand-ins of the published detectors say so when they're skipped.
test-heavy: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m heavy -n 2 --dist loadfile --durations 30 $(TESTS)

# All figures of docs/performance.md in their shortest runs, less than 20 minutes, into build/bench; BENCH= for whole runs, or
# BENCH='--quick --saved-models FOLDER --img2dataset-python PYTHON' for those that need more than is installed here.
BENCH ?= --quick
bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.run_all $(BENCH)

# The documents as a site in build/site; a link that leads nowhere is an error.
docs: $(VENV)/.installed-test
	$(BIN)/python -m mkdocs build --strict --quiet

# Beam's portable runner, for --runner-config prism and the heavy tests: two minutes, with Go 1.26 or newer.
prism: $(BIN)/prism

$(BIN)/prism: | $(VENV)/.installed
	@command -v go >/dev/null || { echo "make prism: there's no go in PATH; install Go 1.26 or newer (https://go.dev/dl)"; exit 1; }
	GOBIN=$(abspath $(BIN)) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)

# Servers of S3, Google Cloud Storage and Azure for the tests: with Go 1.26 or newer and Node.js 18 or newer, ten minutes on two cores,
# six of them for SeaweedFS.
STORE_SERVERS := build/store-servers
SEAWEEDFS := github.com/seaweedfs/seaweedfs@v0.0.0-20261109003541-7506e5f91cd6
store-servers: $(STORE_SERVERS)/go/weed $(STORE_SERVERS)/go/fake-gcs-server $(STORE_SERVERS)/npm/node_modules/.bin/azurite-blob

# Built where Go has it: `go install NAME@VERSION` refuses modules that replace others of theirs.
$(STORE_SERVERS)/go/weed:
	@command -v go >/dev/null || { echo "make store-servers: there's no go in PATH; install Go (https://go.dev/dl)"; exit 1; }
	mkdir -p $(@D)
	cd "$$(go mod download -json $(SEAWEEDFS) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" && go build -o $(abspath $@) ./weed

$(STORE_SERVERS)/go/fake-gcs-server:
	@command -v go >/dev/null || { echo "make store-servers: there's no go in PATH; install Go (https://go.dev/dl)"; exit 1; }
	GOBIN=$(abspath $(@D)) go install github.com/fsouza/fake-gcs-server@v1.56.1

$(STORE_SERVERS)/npm/node_modules/.bin/azurite-blob:
	@command -v npm >/dev/null || { echo "make store-servers: there's no npm in PATH; install Node.js (https://nodejs.org)"; exit 1; }
	npm install --silent --no-audit --no-fund --prefix $(STORE_SERVERS)/npm azurite@3

# A Flink and Beam's runner for it as libraries (150 MB), for the heavy tests: needs Java 11 or newer, and Maven.
flink: build/flink/job-server.jar

build/flink/job-server.jar: tests/flink/pom.xml
	@command -v mvn >/dev/null || { echo "make flink: there's no mvn in PATH; install Java 11 or newer, and Maven"; exit 1; }
	mvn --batch-mode --quiet --file $< package
	touch $@

# A Spark and Beam's runner for it as libraries (300 MB), likewise.
spark: build/spark/job-server.jar

build/spark/job-server.jar: tests/spark/pom.xml
	@command -v mvn >/dev/null || { echo "make spark: there's no mvn in PATH; install Java 11 or newer, and Maven"; exit 1; }
	mvn --batch-mode --quiet --file $< package
	touch $@

# A job on a Flink inside Beam's job server, and the same tables as in-process.
flink-smoke: $(VENV)/.installed-test build/flink/job-server.jar
	$(BIN)/python -m pytest -m heavy tests/pipeline/running/test_runners_flink.py -k inside_the_job_server

# Labelling tools' own packages, for the heavy tests of exports: an environment each (1.6 GB together), since they want other
# versions of NumPy and pandas than labelbeam has.
export-readers: $(addprefix build/export-readers/,datumaro label-studio-sdk fiftyone)

build/export-readers/%:
	$(PYTHON) -m venv $@.part
	$@.part/bin/python -m pip install --quiet --disable-pip-version-check $*
	mv $@.part $@

# What running needs (2 GB, most of it TensorFlow); tests, checks and documents need more.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

$(VENV)/.installed: requirements.lock setup.py
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'labelbeam needs Python 3.10 or newer: make PYTHON=python3.11 …')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) setuptools
	$(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --no-build-isolation --editable '.[test,check,docs]'
	touch $@

# Resolves the newest versions that go together, for every Python and platform that labelbeam supports.
lock:
	uv pip compile setup.py --all-extras --universal --python-version 3.10 --no-header --output-file requirements.lock

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
