#!/bin/bash
# build.sh DIR TARGET [CMAKE_OPTION...]: configures DIR and builds TARGET there, with Ninja and ccache where they are.
# Without options an existing configuration is kept, so that `make demo` after `make test` builds nothing again.
# CUDA_LATER=1, for a demo: a new build leaves the CUDA backend, its slowest part, to the next call without that.
set -eu
dir=$1 target=$2
shift 2
cd "$(dirname "$0")/.."

if [ ! -e "$dir/build.ninja" ] && [ ! -e "$dir/Makefile" ]; then
  rm -f "$dir/CMakeCache.txt"  # of a configuration that failed
  if [ -n "${CUDA_LATER:-}" ]; then set -- -DSHERD_CUDA=LATER "$@"; fi
  command -v ninja >/dev/null && set -- -G Ninja "$@"
  set -- -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
  if command -v ccache >/dev/null; then
    set -- -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache "$@"
  fi
elif [ -z "${CUDA_LATER:-}" ] && grep -qs '^SHERD_CUDA:[A-Z]*=LATER$' "$dir/CMakeCache.txt"; then
  set -- -DSHERD_CUDA=AUTO "$@"
fi
# Precompiled headers are cached only with these.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}
if [ $# -gt 0 ]; then cmake -S . -B "$dir" "$@" >/dev/null; fi
cmake --build "$dir" --target "$target" -j "${JOBS:-$(nproc)}"
