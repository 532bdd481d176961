# Two commands: `make demo` trains a small sharded Llama on chess games; `make test` builds and tests everything.
# Both first install what is missing, where they may (tools/setup.sh).
BUILD ?= build
TIDY_FILES ?= $(shell git ls-files 'src/*.cpp')
SHELL_FILES = $(shell git ls-files '*.sh' .ci/run)
CPP_FILES = $(shell git ls-files '*.cpp' '*.hpp' '*.cu' '*.cuh')

.PHONY: help demo test build fetch bundle bench setup format lint asan tsan clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: setup  ## train a small sharded Llama on four MPI ranks (at most 5 minutes, no GPU needed)
	@CUDA_LATER=1 tools/build.sh $(BUILD) sherd $(if $(wildcard $(BUILD)/build.ninja $(BUILD)/Makefile),,-DSHERD_TESTS=OFF)
	@tools/demo.sh $(BUILD)

test:  ## build everything and run every test
	@tools/setup.sh --test
	@tools/build.sh $(BUILD) all -DSHERD_TESTS=ON
	@tools/check_layers.py
	@ctest --test-dir $(BUILD) -j2 --output-on-failure $(CTEST_FLAGS)
	@sed -n 's/^figure: /  /p' $(BUILD)/Testing/Temporary/LastTest.log

build: setup  ## build the program: build/src/app/sherd
	@tools/build.sh $(BUILD) sherd $(if $(wildcard $(BUILD)/build.ninja $(BUILD)/Makefile),,-DSHERD_TESTS=OFF)

fetch:  ## sherd-fetch and sherd-games, for a login node: in build-fetch/tools
	@tools/setup.sh --fetch
	@tools/build.sh build-fetch fetch-tools -DSHERD_ONLY_FETCH=ON -DSHERD_MARCH=x86-64-v2

bundle:  ## the program with the libraries it needs, for machines where nothing is installed: build-bundle/sherd-x86-64-v3.tar.xz
	@tools/setup.sh --test
	@tools/build.sh build-bundle all -DSHERD_MARCH=x86-64-v3 -DSHERD_TESTS=ON -DSHERD_PYTHON=false \
	  "-DSHERD_CUDA_ARCHITECTURES=80;90a;100" \
	  -DCMAKE_DISABLE_FIND_PACKAGE_Parquet=ON
	@tools/bundle.sh build-bundle build-bundle/sherd-x86-64-v3.tar.xz

bench:  ## tokens per second and share of the measured GEMM peak, beside PyTorch where it is installed
	@tools/setup.sh --bench
	@tools/build.sh $(BUILD) all -DSHERD_BENCH=ON
	@tools/bench/run.sh $(BUILD)

setup:  ## check the dependencies; install what is missing, or say what to type
	@tools/setup.sh

format:  ## clang-format every source file in place
	@clang-format -i $(CPP_FILES)

lint:  ## layers, formatting, clang-tidy, shellcheck
	@tools/check_layers.py
	@clang-format --dry-run -Werror $(CPP_FILES)
	@shellcheck $(SHELL_FILES)
	@tools/build.sh build-lint help -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
	@printf '%s\n' $(TIDY_FILES) | xargs -P $$(nproc) -n 4 clang-tidy -p build-lint --quiet \
	  --extra-arg=-Wno-unknown-warning-option --extra-arg=-include --extra-arg=$(CURDIR)/tools/lint/source_location.hpp

asan:  ## the tests under the address and undefined-behaviour sanitizers
	@tools/setup.sh --test
	@tools/build.sh build-asan all --preset asan
	@ctest --preset asan $(CTEST_FLAGS)

tsan:  ## the unit tests under the thread sanitizer
	@tools/setup.sh --test
	@tools/build.sh build-tsan all --preset tsan
	@ctest --preset tsan $(CTEST_FLAGS)

clean:  ## remove the build folders (not the runs in out/)
	@rm -rf build build-asan build-tsan build-lint build-fetch build-bundle build-gpu build-cuda
