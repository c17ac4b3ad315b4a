# `make train` and `make test` are all that a fresh clone needs; each installs what is missing.

SHELL := /bin/bash
# rustup's folder is not on the path of a shell opened before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

RUN ?= runs/digits
PRESET ?= digits
CASES ?= 1000
SHARD ?= 0/12
PYTHON ?= python3
CUDA_PREFIX ?= $(CURDIR)/target-cuda/toolkit
# Where cargo builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup train test verify python wheel bench bench-growth mutants mutants-theory mutants-by-hand mutants-sample book book-check report-check \
    cuda cuda-bundle cuda-pretend cuda-check

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

setup: ## install what the build needs (asks apt only for what is missing)
	@scripts/setup.sh

train: setup ## train on the handwritten digits, into runs/digits
	cargo build --release
	$(TARGET)/release/sadm train --preset $(PRESET) --out $(RUN) --resume

test: setup ## format, lints, documentation, all tests
	@scripts/test.sh

verify: setup ## hold the training system against the f64 reference, CASES=1000
	cargo build --release
	$(TARGET)/release/sadm verify --cases $(CASES)

bench: setup ## ours and PyTorch side by side: steps, layers, losses (BENCH='--threads 1 step')
	@scripts/bench.sh $(BENCH)

bench-growth: setup ## a step's time and memory against |B|, image size, depth and d
	cargo bench --bench growth -- $(BENCH)

python: setup ## the package for Python and its tests (needs NumPy; PyTorch and JAX where they are)
	@PYTHON=$(PYTHON) scripts/python.sh

wheel: setup ## a wheel of the package for Python in target/wheels (asks pip for maturin)
	@PYTHON=$(PYTHON) scripts/wheel.sh

mutants: setup ## mutation tests of the reference's formulas (needs cargo-mutants)
	NEXTEST_PROFILE=mutants cargo mutants --package sadm-reference  # reads .cargo/mutants.toml

mutants-theory: setup ## a sample of the theory's mutants, SHARD=0/12 (needs cargo-mutants)
	NEXTEST_PROFILE=mutants cargo mutants --config .cargo/mutants-theory.toml --package sadm-theory \
	    --shard $(SHARD) --sharding round-robin

mutants-by-hand: setup ## mistakes in the wiring, each of which a test must see (needs cargo-nextest)
	$(PYTHON) scripts/mutants/mutants.py by-hand $(MUTANTS)

mutants-sample: setup ## a random sample of cargo-mutants' over the wiring (MUTANTS='--count 400 --seed 1')
	$(PYTHON) scripts/mutants/mutants.py sample $(MUTANTS)

book: setup ## the book with its figures and rustdoc, into docs/book
	@scripts/book.sh

book-check: ## look at every page of the book in headless Chromium (needs make book, Chromium, playwright)
	$(PYTHON) scripts/book-check.py docs/book

report-check: setup ## reports in headless Chromium (needs chromium, node, npm)
	@scripts/report-check.sh

cuda: setup ## release build for NVIDIA GPUs, no GPU needed (about 10 minutes)
	scripts/cuda-toolkit.sh $(CUDA_PREFIX)
	source $(CUDA_PREFIX)/env.sh && NVCC=$(CUDA_PREFIX)/bin/nvcc-lite \
	    cargo build --release --features cudnn --target-dir target-cuda

cuda-bundle: cuda ## one archive for a machine with a GPU, no Rust and no network
	source $(CUDA_PREFIX)/env.sh && NVCC=$(CUDA_PREFIX)/bin/nvcc-lite scripts/cuda-bundle.sh target-cuda

cuda-pretend: cuda ## run the CUDA build on a pretended GPU: candle's kernels on the CPU (about 10 minutes)
	scripts/cuda-pretend.sh $(CUDA_PREFIX) target-cuda

cuda-check: setup ## type-check the CUDA code, no CUDA needed
	mkdir -p target-cuda-check/bin
	ln -sf $(CURDIR)/scripts/nvcc-typecheck target-cuda-check/bin/nvcc
	PATH=$(CURDIR)/target-cuda-check/bin:$$PATH CUDA_COMPUTE_CAP=90 NVCC=$(CURDIR)/scripts/nvcc-typecheck \
	    cargo check --bins --benches --features cudnn --target-dir target-cuda-check
