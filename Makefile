# `make demo` labels the images in this repository, `make test` runs the tests, `make bench` the benchmarks. All make .venv when it's
# missing.
PYTHON ?= python3
VENV := .venv
OUT ?= demo-labels

BEAM := 2.77.0
FLINK ?= 1.20
FLINK_JAR := beam-runners-flink-$(FLINK)-job-server-$(BEAM).jar
FLINK_JAR_URL := https://repo.maven.apache.org/maven2/org/apache/beam/beam-runners-flink-$(FLINK)-job-server/$(BEAM)/$(FLINK_JAR)

.PHONY: demo test test-heavy bench prism flink export-readers flink-smoke lock clean

demo: $(VENV)/.installed
	$(VENV)/bin/labelbeam demo --output $(OUT)

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m "not heavy"

# Minutes long; those that need the stand-ins of the published detectors say so when they're skipped.
test-heavy: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m heavy

# All figures of docs/performance.md in their shortest runs, less than 20 minutes, into build/bench; BENCH= for whole runs, or
# BENCH='--quick --saved-models FOLDER --img2dataset-python PYTHON' for those that need more than is installed here.
BENCH ?= --quick
bench: $(VENV)/.installed
	$(VENV)/bin/python -m benchmarks.run_all $(BENCH)

# Beam's portable runner, for --runner-config prism and the heavy tests: two minutes, with Go 1.26 or newer.
prism: $(VENV)/bin/prism

$(VENV)/bin/prism: $(VENV)/.installed
	@command -v go >/dev/null || { echo "make prism: there's no go in PATH; install Go 1.26 or newer (https://go.dev/dl)"; exit 1; }
	GOBIN=$(abspath $(VENV)/bin) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)

# A Flink and Beam's runner for it as libraries (150 MB), for the heavy tests: needs Java 11 or newer, and Maven.
flink: build/flink/job-server.jar

build/flink/job-server.jar: tests/flink/pom.xml
	@command -v mvn >/dev/null || { echo "make flink: there's no mvn in PATH; install Java 11 or newer, and Maven"; exit 1; }
	mvn --batch-mode --quiet --file $< package
	touch $@

# Labelling tools' own packages, for the heavy tests of exports: an environment each (1.6 GB together), since they want other
# versions of NumPy and pandas than labelbeam has.
export-readers: $(addprefix build/export-readers/,datumaro label-studio-sdk fiftyone)

build/export-readers/%:
	$(PYTHON) -m venv $@.part
	$@.part/bin/python -m pip install --quiet --disable-pip-version-check $*
	mv $@.part $@

# The demo images on a Flink that Beam's job server starts inside itself, and the same tables as in-process.
flink-smoke: $(VENV)/.installed build/$(FLINK_JAR)
	@command -v java >/dev/null || { echo "make flink-smoke: there's no java in PATH; Beam's job server needs Java 11 or newer"; exit 1; }
	rm -rf build/flink-smoke
	$(VENV)/bin/labelbeam label --input pipeline/demo_images --output build/flink-smoke/flink --detector demo \
		--runner-config flink --flink_version $(FLINK) --flink_job_server_jar build/$(FLINK_JAR) --flink_master '[local]' \
		--environment_type LOOPBACK --environment_config ''
	$(VENV)/bin/labelbeam label --input pipeline/demo_images --output build/flink-smoke/in-process --detector demo
	$(VENV)/bin/python -m tests.same_tables build/flink-smoke/flink build/flink-smoke/in-process

build/$(FLINK_JAR):
	@mkdir -p build
	@curl --fail --silent --show-error --location --output $@.part $(FLINK_JAR_URL) || { rm -f $@.part; \
		echo "make flink-smoke: Beam's job server for Flink $(FLINK) can't be downloaded from $(FLINK_JAR_URL). Put the jar into" \
		"build/ by hand, or name another version with FLINK=…; without it nothing of Flink can be tried here."; exit 1; }
	@mv $@.part $@

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
