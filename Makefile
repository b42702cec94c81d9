# make demo     install, export MobileNetV2 with its ImageNet weights in FP16, classify photos with the bundle, verify it
# make test     all tests except those of the large networks; the slowest are listed
# make test-all all tests; run it before a release
# make check    ruff, mypy --strict, the wheel, the site, pytest (what CI runs)
# make docs     build the documentation as a site into build/site; open build/site/index.html
# make wheel    build the package and run it in an environment without other packages
# make zoo      write the tables of the zoo in README.md and docs/zoo.md
# make parser86 build the ONNX parser of TensorRT 8.6 as a program, for tests; HEADERS=… is the folder include/ of NVIDIA/TensorRT, release/8.6

# The first that is new enough: some systems have an old python3, or none, beside a python3.11.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; done; echo $$python)
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
WHEEL := build/wheel
TYPED := build/typed
STUBS := $(VENV)/stubs
# models/ and calib/ are installed inside edgekit. Tools that read the source get a copy with this layout.
LAID_OUT = @rm -rf $(TYPED) && mkdir -p $(TYPED) && cp -R edgekit $(TYPED)/ && cp -R models calib $(TYPED)/edgekit/
MYPY = cd $(TYPED) && MYPYPATH=$(CURDIR)/$(STUBS) $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --python-executable $(CURDIR)/$(BIN)/python
PARSER86 ?= $(HOME)/.cache/edgekit-parser86

.PHONY: demo test test-all check lint types wheel docs zoo install parser86 clean

demo: $(DEMO)
	$(BIN)/edgekit export mobilenetv2 --fp16 --force
	$(BIN)/edgekit run build/mobilenetv2-fp16 calib/cat.jpg calib/coffee.jpg calib/rocket.jpg
	$(BIN)/edgekit verify build/mobilenetv2-fp16

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 25 -m 'not slow'

test-all: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 25

check: lint types wheel docs test

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LAID_OUT)
	cd $(TYPED) && $(CURDIR)/$(BIN)/lint-imports --no-cache --no-logo $(CURDIR)/pyproject.toml

types: $(INSTALLED) $(STUBS)
	$(LAID_OUT)
	$(MYPY) -p edgekit
	$(MYPY) $(CURDIR)/tests/api/test_typed.py $(CURDIR)/examples/*.py

# A fresh environment with only the package and its base dependencies.
wheel: $(DEMO)
	@rm -rf build/lib build/bdist.* edgekit.egg-info $(WHEEL)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(WHEEL) .
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(WHEEL)/edgekit-*.whl
	$(WHEEL)/venv/bin/python tests/installed.py

# A broken link, or a missing heading or API name, is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir build/site

zoo: $(INSTALLED)
	$(BIN)/python docs/make_zoo.py

install: $(INSTALLED)

# torch first, with its exact version: if the index has a CPU build, no CUDA packages are installed.
$(DEMO): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[export]'
	@touch $@

$(INSTALLED): $(DEMO)
	$(PIP) --editable '.[dev]'
	@touch $@

# The type stubs of TensorRT are installed in a separate folder: as a normal package they need TensorRT 10.13, and leave an empty module tensorrt.
# Some lines of the stubs are not valid Python. Others do not say that a tuple may be given for Dims, and None for a listener.
$(STUBS): $(INSTALLED)
	@rm -rf $@
	$(PIP) --no-deps --target $@ tensorrt-stubs
	@sed -i -e 's/\bin: list/in_: list/g' -e 's/channel_axis: int) -> IScale/channel_axis: int = ...) -> IScale/' \
		-e 's/^class Dims:/class Dims(tuple[int, ...]):/' -e 's/\b\(min\|opt\|max\): Dims\b/\1: tuple[int, ...]/g' \
		-e 's/\bprogress_monitor: IProgressMonitor\|\bprofiler: IProfiler/& | None/' $@/tensorrt_bindings/tensorrt.pyi
	@touch $@

parser86:
	tests/runtimes/tensorrt/parser86/build.sh $(PARSER86) $(HEADERS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
