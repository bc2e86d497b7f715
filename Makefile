# `make help` lists the targets. Everything is set up on first use: `make train` on a fresh clone is enough.

BUNDLE ?= vnet_left_atrium
DATASET_DIR ?=
RUN ?=
WEIGHTS ?=
INIT ?=
OVERLAYS ?=
SOURCE ?=
FOLDS ?=
GPUS ?= 1
ARGS ?=
TORCH_INDEX_URL ?=

SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python; do $$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

# The shell gets what was typed, character by character: within double quotes, make would take $ for its own, and the
# shell ", \ and `.
export BUNDLE DATASET_DIR RUN WEIGHTS INIT OVERLAYS SOURCE FOLDS GPUS
override BUNDLE := $(value BUNDLE)
override DATASET_DIR := $(value DATASET_DIR)
override RUN := $(value RUN)
override WEIGHTS := $(value WEIGHTS)
override INIT := $(value INIT)
override OVERLAYS := $(value OVERLAYS)
override SOURCE := $(value SOURCE)
override FOLDS := $(value FOLDS)
override GPUS := $(value GPUS)

BUNDLES := $(sort $(patsubst bundles/%/configs/train.json,%,$(wildcard bundles/*/configs/train.json)))
# The on-disk layout that a bundle's train.json names: that of its sample data.
LAYOUT = $(shell sed -n 's/^ *"layout": "\([a-z0-9_]*\)".*/\1/p' bundles/$(1)/configs/plan.json 2>/dev/null)
SAMPLE := sample_data/$(BUNDLE)
NEEDS_SAMPLE = $(if $(DATASET_DIR),,$(SAMPLE)/phantom.json)
# What the user's dataset is; without one, the generated sample data and the short schedule made for it.
DATA = --bundle="$$BUNDLE" --dataset_dir=$(if $(DATASET_DIR),"$$DATASET_DIR","$(SAMPLE)" --sample=True)
PIPELINE = $(PY) -m tools.pipeline
RUN_ARG = $(if $(RUN),--run="$$RUN")
WEIGHTS_ARG = $(if $(WEIGHTS),--weights="$$WEIGHTS")
INIT_ARG = $(if $(INIT),--init="$$INIT")
OVERLAYS_ARG = $(if $(OVERLAYS),--merge="$$OVERLAYS")
FOLDS_ARG = $(if $(FOLDS),--cross_validate="$$FOLDS")
GPUS_ARG = --gpus="$$GPUS"

.DELETE_ON_ERROR:
.PHONY: known-bundle help setup sample-data plan train evaluate infer pack release download verify docs benchmark-speed benchmark-quality test test-slow lint clean

help: ## List the targets and variables
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo "Variables:"
	@echo "  BUNDLE=        bundle to work with (now: $(BUNDLE))"
	@echo "  DATASET_DIR=   your data; without it, sample data is generated (infer: also one file or a DICOM series)"
	@echo "  RUN=           folder for everything a run writes (default: runs/<bundle>/<name of the dataset folder>, with its"
	@echo "                 parent's name in front where other data of that name came first);"
	@echo "                 pack, release: folder of a training run, whose weights (RUN/models) they then use"
	@echo "  WEIGHTS=       evaluate and infer: shipped (in bundles/<bundle>/models), latest (the newest finished run in"
	@echo "                 runs/<bundle>) or a folder, that of a run or of the weights. Default: those in RUN= if it has any, else"
	@echo "                 the latest, else the shipped ones. Weights from phantoms are the latest for phantoms only. Results are"
	@echo "                 in RUN=; else in the weights' run, if it is about this data; else in runs/<bundle>/<name of the dataset"
	@echo "                 folder>_weights_of_<run>, or ..._shipped_weights. The first line says which weights are used"
	@echo "  INIT=          train: start from these weights: shipped, a folder (of a run or of the weights) or a file, which is the"
	@echo "                 last stage's. A first or last layer that differs is new. A training that is resumed passes over them"
	@echo "  OVERLAYS=      files of the bundle's configs/, merged in this order after the base config:"
	@echo "                 OVERLAYS=decathlon.json, OVERLAYS=\"paper.json experiments/2_vnet_dice.json\". All go to train.json and"
	@echo "                 its evaluation. An earlier stage takes X_<stage>.json for X.json where there is one; else X.json if the"
	@echo "                 stage has all its ids and X.json sets no network_def, loss or learning_rate. Inference takes what it"
	@echo "                 has the ids of. What is left out is printed. For evaluate, infer, pack: those of the training"
	@echo "  FOLDS=         train: every fold of a cross-validation (FOLDS=all), or some (FOLDS=0,1), one after the other in"
	@echo "                 RUN/fold_<k>/; then the metrics of all their cases, and predictions with the mean of their networks."
	@echo "                 Interrupted, the same command goes on. Patients with several scans: ARGS='--groups \"(patient\d+)_\"'"
	@echo "  SOURCE=        release: URL of the folder that dist/ will be uploaded to; download: URL, or folder, of such a page"
	@echo "  ARGS=          config overrides, e.g. ARGS=\"--epochs 2 --resume True\"; train: --minutes 30 sets the epochs that fit"
	@echo "                 this time on this machine; for test, test-slow: arguments of pytest"
	@echo "  GPUS=          number of processes, one per GPU (default: 1)"
	@echo "  PYTHON=        the Python 3.11 or 3.12 to build $(VENV) with (default: the first that is found)"
	@echo "  TORCH_INDEX_URL=  where setup takes torch from, to choose another build of it (see README.md)"

known-bundle:
	@printf '%s\n' $(BUNDLES) | grep -qxF -e "$$BUNDLE" || { printf 'BUNDLE=%s: no such bundle; there are: %s\n' "$$BUNDLE" "$(BUNDLES)" >&2; exit 1; }

setup: $(READY) ## Create .venv and install the pinned dependencies

sample-data: known-bundle $(SAMPLE)/phantom.json ## Write the bundle's sample data (generated phantoms)

plan: known-bundle $(READY) ## Plan a training on DATASET_DIR=: what will be done with it, and why (ARGS="--memory_gb 4")
	@test -n "$$DATASET_DIR" || { echo "Say DATASET_DIR=folder of your data" >&2; exit 1; }
	@$(PIPELINE) plan --bundle="$$BUNDLE" --dataset_dir="$$DATASET_DIR" $(RUN_ARG) $(ARGS)

train: known-bundle $(READY) $(NEEDS_SAMPLE) ## Train all stages (from INIT=), evaluate, predict, print a table of metrics
	@$(PIPELINE) train $(DATA) $(RUN_ARG) $(INIT_ARG) $(OVERLAYS_ARG) $(FOLDS_ARG) $(GPUS_ARG) $(ARGS)

evaluate: known-bundle $(READY) $(NEEDS_SAMPLE) ## Evaluate trained weights (WEIGHTS=) on the validation cases
	@$(PIPELINE) evaluate $(DATA) $(RUN_ARG) $(WEIGHTS_ARG) $(OVERLAYS_ARG) $(GPUS_ARG) $(ARGS)

infer: known-bundle $(READY) $(NEEDS_SAMPLE) ## Predict, with trained weights (WEIGHTS=), every image found in DATASET_DIR
	@$(PIPELINE) infer $(DATA) $(RUN_ARG) $(WEIGHTS_ARG) $(OVERLAYS_ARG) $(GPUS_ARG) $(ARGS)

pack: known-bundle $(READY) ## Write dist/<bundle>_v<version>.zip: the bundle and what it needs, to share (RUN=: with that run's weights)
	@$(PY) -m tools.pack --bundle="$$BUNDLE" $(RUN_ARG) $(OVERLAYS_ARG)

release: known-bundle $(READY) ## Pack into dist/ and list the zip in dist/model_info.json, for a page at SOURCE= that others download from
	@$(PY) -m tools.release --bundle="$$BUNDLE" --source="$$SOURCE" $(RUN_ARG) $(OVERLAYS_ARG)

download: $(READY) ## Fetch BUNDLE= from the page at SOURCE= into downloads/, its checksum verified (ARGS="--version 0.1.0")
	@$(PY) -m tools.download --bundle="$$BUNDLE" --source="$$SOURCE" $(ARGS)

verify: $(READY) ## Run MONAI's own checks on the bundle (ARGS="--schema FILE": with the published metadata schema)
	@$(PY) -m tools.verify --bundle="$$BUNDLE" $(ARGS)

docs: $(READY) ## Rewrite what the READMEs take from configs and metadata (ARGS=--check: only say what is stale)
	@$(PY) -m tools.docs $(ARGS)

benchmark-speed: $(READY) ## Time every bundle beside plain loops, DynUNet and SegResNet (ARGS="--quick", "--compare OLD.json")
	@$(PY) -m benchmarks.speed $(ARGS)

benchmark-quality: $(READY) ## Train every bundle, DynUNet and SegResNet on DATASET_DIR= in the same time (ARGS="--minutes 15 --folds 0,1")
	@test -n "$$DATASET_DIR" || { echo "Say DATASET_DIR=folder of a data set, or several separated by commas" >&2; exit 1; }
	@$(PY) -m benchmarks.quality --dataset_dir="$$DATASET_DIR" $(ARGS)

test: lint ## Lint, then run the tests that are quick: every behavior once
	$(PY) -m pytest -m "not slow" $(ARGS)

test-slow: $(READY) ## Run the other tests: every bundle through everything, larger volumes, exports
	$(PY) -m pytest -m slow $(ARGS)

lint: $(READY) ## Check format and style
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

clean: ## Remove .venv, sample data and tool caches; runs/ stays
	rm -rf $(VENV) sample_data .pytest_cache .ruff_cache .hypothesis *.egg-info

# torch first, because its builds share one version number: "2.13.0" is the index's own build (CUDA on Linux),
# "2.13.0+cpu" the CPU build, which some indexes carry.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 with venv found. Install one, or say PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@if [ -n "$(TORCH_INDEX_URL)" ]; then set -x; \
	    $(PY) -m pip install --no-deps --index-url "$(TORCH_INDEX_URL)" "torch==$(TORCH)"; \
	else \
	    if nvidia-smi >/dev/null 2>&1; then build="torch===$(TORCH)"; else build="torch==$(TORCH)+cpu"; fi; \
	    echo "Installing $$build, or else the index's own build"; \
	    $(PY) -m pip install -q -c constraints.txt "$$build" 2>/dev/null \
	        || $(PY) -m pip install -c constraints.txt "torch==$(TORCH)"; \
	fi
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	@$(PY) -c "import torch; print('torch', torch.__version__, '- CUDA GPU found' if torch.cuda.is_available() else '- no CUDA GPU found, runs on the CPU')"
	@touch $@

# The generator writes this file last: where it is, the set is whole.
sample_data/%/phantom.json: | known-bundle $(READY)
	$(PY) -m common.phantoms --layout $(call LAYOUT,$*) --folder sample_data/$* --cases 40 --seed 0
