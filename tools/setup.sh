#!/bin/bash
# setup.sh [--fetch|--test|--bench]: makes sure that what Sherd is built from is here. Nothing to do is the usual case and takes
# milliseconds. What is missing is installed with apt where this user may (root, or sudo that asks no password);
# otherwise the one line to type is printed, with the names modules and Spack have for it on a cluster. --test or --bench
# adds what only the tests or the benchmarks need; --fetch asks for nothing but what sherd-fetch and sherd-games need, for a
# login node.
# Exit: 0 all is here, 2 something is missing and cannot be installed from here.
set -u
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
missing=()   # Debian packages
modules=()   # what environment modules call them
spack=()     # Spack's names for what few clusters have as a module

# need KIND NAME PACKAGE WHERE:NAME: one dependency. KIND is a function below that looks for NAME.
need() {
  "$1" "$2" && return
  case " ${missing[*]} " in *" $3 "*) return ;; esac
  missing+=("$3")
  case ${4:-} in
    module:*) modules+=("${4#module:}") ;;
    spack:*) spack+=("${4#spack:}") ;;
  esac
}

program() { command -v "$1" >/dev/null 2>&1; }

# at_least PROGRAM=VERSION: a program that is there, and not older.
at_least() {
  local name=${1%=*} wanted=${1#*=} found
  program "$name" || return 1
  found=$("$name" --version | sed -n '1s/.* \([0-9][0-9.]*\).*/\1/p')
  [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] && return
  echo "setup: $name $found is too old: Sherd needs $wanted or newer" >&2
  return 1
}

include_path=()
read_include_path() {
  local dir old_ifs=$IFS
  IFS=:
  for dir in ${CPATH:-} ${C_INCLUDE_PATH:-} ${CPLUS_INCLUDE_PATH:-}; do include_path+=("$dir"); done
  for dir in ${CMAKE_PREFIX_PATH:-} ${HDF5_ROOT:-} ${HDF5_DIR:-} ${CONDA_PREFIX:-}; do
    include_path+=("$dir/include")
  done
  IFS=$old_ifs
  include_path+=(/usr/local/include /usr/include /usr/include/"${HOSTTYPE:-x86_64}"-linux-gnu)
  include_path+=(/usr/include/hdf5/openmpi)
}

header() {
  local dir
  for dir in "${include_path[@]}"; do [ -e "$dir/$1" ] && return; done
  return 1
}

look_for_build() {
  need at_least g++=12 g++ module:gcc
  need at_least cmake=3.25 cmake module:cmake
  need program ninja ninja-build spack:ninja
  need program pkg-config pkg-config spack:pkgconf
  need program mpicc libopenmpi-dev module:openmpi
  need program mpirun openmpi-bin module:openmpi
  need header hdf5.h libhdf5-openmpi-dev module:hdf5
  need header sentencepiece_processor.h libsentencepiece-dev spack:sentencepiece
  need header dnnl.hpp libdnnl-dev spack:onednn
  need header fmt/core.h libfmt-dev spack:fmt
  need header spdlog/spdlog.h libspdlog-dev spack:spdlog
  need header nlohmann/json.hpp nlohmann-json3-dev spack:nlohmann-json
  need header openssl/sha.h libssl-dev spack:openssl
}

look_for_fetch() {
  need at_least g++=12 g++ module:gcc
  need at_least cmake=3.25 cmake module:cmake
  need program ninja ninja-build spack:ninja
  need header fmt/core.h libfmt-dev spack:fmt
  need header spdlog/spdlog.h libspdlog-dev spack:spdlog
  need header nlohmann/json.hpp nlohmann-json3-dev spack:nlohmann-json
  need header openssl/sha.h libssl-dev spack:openssl
  need header curl/curl.h libcurl4-openssl-dev spack:curl
  need header CLI/CLI.hpp libcli11-dev spack:cli11
  need header zstd.h libzstd-dev spack:zstd
}

# The private Slurm cluster of tests/slurm needs root anyway: without it that test skips itself and says why.
look_for_tests() {
  look_for_fetch
  need header gtest/gtest.h libgtest-dev spack:googletest
  need header gmock/gmock.h libgmock-dev spack:googletest
  need program python3 python3 module:python
  [ "$(id -u)" = 0 ] && program apt-get || return 0
  need program patchelf patchelf spack:patchelf
  need program xz xz-utils spack:xz
  need program slurmctld slurmctld
  need program slurmd slurmd
  need program srun slurm-client
  need program munged munge
  need program ip iproute2
}

# Sets `as_root` to what an administrator's command starts with, or fails.
may_install() {
  program apt-get || return 1
  if [ "$(id -u)" = 0 ]; then as_root=(env DEBIAN_FRONTEND=noninteractive)
  elif program sudo && sudo -n true 2>/dev/null; then as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
  else return 1; fi
}

apt() { "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=120 "$@"; }

# The package lists of a fresh image are empty, and old ones name files that are gone: then, and only then, update.
install_missing() {
  echo "setup: installing ${missing[*]}"
  if apt install --simulate "${missing[@]}" >/dev/null 2>&1; then
    apt install -y --no-install-recommends "${missing[@]}" </dev/null && return
  fi
  apt update </dev/null && apt install -y --no-install-recommends "${missing[@]}" </dev/null
}

unique() { printf '%s\n' "$@" | sort -u | tr '\n' ' ' | sed 's/ $//'; }

tell_what_to_type() {
  echo "setup: not found here: ${missing[*]}"
  echo
  echo "On Debian or Ubuntu, type:"
  echo "    sudo apt-get update && sudo apt-get install -y ${missing[*]}"
  if [ ${#modules[@]} -gt 0 ]; then
    echo "On a cluster with environment modules (their names differ a little; see 'module avail'):"
    echo "    module load $(unique "${modules[@]}")"
  fi
  if [ ${#spack[@]} -gt 0 ]; then
    echo "What has no module, with Spack:"
    echo "    spack install $(unique "${spack[@]}") && spack load $(unique "${spack[@]}")"
  fi
} >&2

look() {
  missing=() modules=() spack=()
  [ "$1" = --fetch ] || look_for_build
  case $1 in
    --fetch) look_for_fetch ;;
    --test) look_for_tests ;;
    --bench)
      look_for_tests
      need header benchmark/benchmark.h libbenchmark-dev spack:benchmark
      ;;
  esac
}

# from_pip FOLDER FILE ELSE PACKAGE...: wheels into .deps/FOLDER, unless FILE lies there; ELSE says what is lost without.
from_pip() {
  local to without=$3
  to=$(dirname "$0")/../.deps/$1
  [ ! -e "$to/$2" ] || return 0
  shift 3
  python3 -m pip install -q --no-deps --only-binary :all: --target "$to" "$@" </dev/null >/dev/null 2>&1 ||
    echo "setup: pip has no $*: $without" >&2
}

# What only pip has, for the tests of a build with nvcc: the headers of cuDNN's attention, in whose place there is a stub
# otherwise, and the disassembler of tools/gpu_code.py, where CUDA came without.
fetch_for_cuda() {
  program nvcc || [ -x /usr/local/cuda/bin/nvcc ] || return 0
  from_pip cudnn-frontend include/cudnn_frontend.h "built without cuDNN's attention" "nvidia-cudnn-frontend>=1.28,<2"
  program cuobjdump || [ -x /usr/local/cuda/bin/cuobjdump ] ||
    from_pip cuda-tools nvidia/cu13/bin/nvdisasm "the kernels' machine code is not read" \
      "nvidia-cuda-cuobjdump>=13.2,<14" "nvidia-cuda-nvdisasm>=13.2,<14"
}

case ${1:-} in
  "" | --fetch | --test | --bench) ;;
  *) sed -n '2,7p' "$0"; exit 2 ;;
esac
read_include_path
[ "${1:-}" != --test ] || fetch_for_cuda
look "${1:-}"
[ ${#missing[@]} -eq 0 ] && exit 0
if may_install && install_missing; then
  hash -r
  look "${1:-}"
  [ ${#missing[@]} -eq 0 ] && exit 0
fi
tell_what_to_type
exit 2
