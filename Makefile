# make demo    the whole job on the embedded sample set: no data, no weights, no download but packages
# make test    the tests                        make check   ruff and mypy     make audit   known vulnerabilities
# make train export report DATA=... BACKBONE=resnet18|resnet50|vgg16 WEIGHTS=imagenet|none|FILE
#   OVERWRITE=1 replaces a bundle that was trained or evaluated before
# make infer IMAGES=folder                      make gpu-check   on a machine with an NVIDIA GPU
# make release    source distribution, wheel and bill of materials in dist/, checked; uploads nothing
# make docs    the documentation site, in build/docs; works offline
# make arm64    the wheel on emulated ARM processors, as root: compares the answers with those here (docs/devices.md)
# make differential    300 random small networks through a whole export, every runtime against an oracle, into DIFFERENTIAL=folder
# make faults   lets every file operation of every command fail in turn, in FAULTS=folder, then tries interleavings of two processes
# make sweep    exports 79 architectures with random weights into SWEEP=folder, and writes docs/models.md
# make fuzz    damaged inputs for every reader, INPUTS in all; goes on where the last run ended, see tests/slow/fuzz

PYTHON ?= python3
BACKBONE ?= resnet18
WEIGHTS ?= imagenet
BUNDLE ?= models/$(BACKBONE)
REPORT ?= report.html
IMAGES ?= $(if $(filter %.csv,$(DATA)),,$(DATA)/test)

VENV := .venv
READY := $(VENV)/.ready
VEGRT := $(VENV)/bin/vegrt
DEMO := demo
SHARED ?= ../shared
SWEEP ?= build/sweep
DIFFERENTIAL ?= build/differential
FUZZ ?= build/fuzz
INPUTS ?= 1000000
FAULTS ?= build/faults
REPLACE := $(if $(OVERWRITE),--overwrite)
# An interrupted training leaves .train in its bundle and goes on from there.
# 0 PASS, 3 FAIL and 4 INCONCLUSIVE are all results worth a report; anything else is an error.
EVALUATED = || { code=$$?; [ $$code -eq 3 ] || [ $$code -eq 4 ]; }

# Packages are installed without bytecode, and their modules are compiled when they are first imported. If the
# environment keeps Python from storing the result, every process compiles torch again.
export PYTHONDONTWRITEBYTECODE =

.NOTPARALLEL:
.PHONY: setup demo test docs bench fuzz faults arm64 sweep differential accept release check audit need-data need-images train export infer report gpu-machine gpu-check clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

demo: $(DEMO)/.evaluated $(DEMO)/.benched
	$(VEGRT) report $(DEMO)/resnet18 --data $(DEMO)/data --out $(DEMO)/report.html

$(DEMO)/data/sample.json: | $(READY)
	$(VEGRT) data sample $(DEMO)/data --train 100 --validation 30 --test 100

$(DEMO)/.trained: $(DEMO)/data/sample.json
	$(VEGRT) train --data $(DEMO)/data --backbone resnet18 --weights none --size 40 --epochs 8 --lr 2e-3 --augment light \
		--runs $(DEMO)/runs.db --out $(DEMO)/resnet18 --overwrite $(if $(wildcard $(DEMO)/resnet18/.train),--resume)
	@touch $@

$(DEMO)/.exported: $(DEMO)/.trained
	$(VEGRT) export $(DEMO)/resnet18 --data $(DEMO)/data --overwrite
	@touch $@

$(DEMO)/.trusted: $(DEMO)/.exported
	$(VEGRT) trust $(DEMO)/resnet18 --data $(DEMO)/data
	@touch $@

$(DEMO)/.evaluated: $(DEMO)/.trusted
	$(VEGRT) evaluate $(DEMO)/resnet18 --data $(DEMO)/data $(EVALUATED)
	@touch $@

$(DEMO)/.benched: $(DEMO)/.exported
	$(VEGRT) bench $(DEMO)/resnet18 --budget-s 30
	@touch $@

# two processes share the cores (pyproject.toml): with one thread each they take a quarter less CPU time
test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest

# warnings are errors: a link to a page or heading that does not exist is one; all pages are written, because each has the navigation
docs: $(READY)
	$(VENV)/bin/python -m sphinx -W --keep-going -q -E -a -d build/doctrees docs build/docs
	@echo build/docs/index.html

# what takes too long for every commit; the photos are described in docs/results.md
bench: $(READY)
	$(VENV)/bin/python tests/slow/train_step.py
	$(VENV)/bin/python tests/slow/builds.py
	$(if $(wildcard $(BUNDLE)/manifest.json),$(VENV)/bin/python peers/end_to_end.py $(SHARED)/vegetables/test --bundle $(BUNDLE))

# needs debootstrap and qemu-user-static; the root file system in build/arm64 is made once
arm64: $(READY)
	$(VENV)/bin/python tests/slow/arm64.py $(BUNDLE) --photos $(SHARED)/vegetables/test

# hours; goes on where it was interrupted
faults: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/slow/failing_io.py $(FAULTS)
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/slow/interleavings.py $(FAULTS)

# hours; goes on where it was interrupted, with RTX=1 plans are built too, AGAIN=failed tries those again
sweep: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/slow/sweep.py $(SWEEP) --page docs/models.md $(if $(RTX),--rtx) \
		$(if $(AGAIN),--again $(AGAIN))

# an hour; goes on where it was interrupted
differential: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -W ignore -m tests.slow.differential $(DIFFERENTIAL) --rtx
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.slow.fuzz $(FUZZ) --inputs $(INPUTS) $(if $(ONLY),--only '$(ONLY)')

accept: $(READY)
	$(VENV)/bin/python tests/slow/peers_agree.py $(BUNDLE) $(SHARED)/vegetables/test
	$(VENV)/bin/python tests/slow/kill.py $(SHARED)/vegetables
	$(VENV)/bin/python tests/slow/kill_export.py $(BUNDLE) $(SHARED)/vegetables

# needs the network: the wheel is installed in a new environment
release: $(READY)
	$(VENV)/bin/python tests/slow/release.py

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	@if command -v actionlint >/dev/null; then actionlint; else echo 'actionlint: not installed; .github/workflows is not checked'; fi

# needs the network: pip-audit asks PyPI for known vulnerabilities of what is installed; a package that it cannot look up is an error
audit: $(READY)
	$(VENV)/bin/python -m pip install --quiet pip-audit
	$(VENV)/bin/pip-audit --strict --skip-editable

need-data:
	@test -n "$(DATA)" || { echo 'DATA is not set; expected: make train DATA=folder-with-train-validation-test' >&2; exit 2; }

need-images:
	@test -n "$(IMAGES)" -a "$(IMAGES)" != /test || { echo 'IMAGES is not set; expected: make infer IMAGES=folder' >&2; exit 2; }

train: need-data $(READY)
	$(VEGRT) train --data $(DATA) --backbone $(BACKBONE) --weights $(WEIGHTS) --out $(BUNDLE) \
		$(REPLACE) $(if $(wildcard $(BUNDLE)/.train),--resume)

export: need-data $(READY)
	$(VEGRT) export $(BUNDLE) --data $(DATA) $(REPLACE)
	$(VEGRT) trust $(BUNDLE) --data $(DATA)

infer: need-images $(READY)
	$(VEGRT) infer --bundle $(BUNDLE) $(IMAGES)

report: need-data $(READY)
	$(VEGRT) evaluate $(BUNDLE) --data $(DATA) $(EVALUATED)
	$(VEGRT) bench $(BUNDLE)
	$(VEGRT) report $(BUNDLE) --data $(DATA) --out $(REPORT)

# docs/gpu.md says what it does; it changes the packages of $(VENV). The machine is checked before anything is installed.
gpu-machine:
	@$(PYTHON) tests/slow/gpu_check.py machine

gpu-check: gpu-machine $(READY)
	@$(VENV)/bin/python tests/slow/gpu_check.py

clean:
	rm -rf $(DEMO) build dist src/*.egg-info
