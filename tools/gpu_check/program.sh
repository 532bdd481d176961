# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables of the scripts that source it
# Sourced by gpu_check.sh and gpu_bench.sh: options, the machine, the program there, commands with a time limit, and what
# earlier calls have done. They set me (their name), usage (the lines of their head), here, out, bundle, build, budget,
# longest and longest_name.

die() { echo "$me: $*" >&2; exit 2; }
say() { echo "$me: $*"; }
quote() { local text=${1//[^ -~]/ }; text=${text//\\/\\\\}; printf '"%s"' "${text//\"/\\\"}"; }

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --bundle | --build | --out)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in --bundle) bundle=$2 ;; --build) build=$2 ;; --out) out=$2 ;; esac
        shift 2
        ;;
      *) sed -n "$usage" "$0" >&2; exit 2 ;;
    esac
  done
  [ -z "$bundle" ] || [ -z "$build" ] || die "either --bundle or --build"
  case $budget:$longest in
    :* | *: | *[!0-9:]*) die "BUDGET_SECONDS=$budget and $longest_name=$longest: expected whole numbers" ;;
  esac
}

# --- the machine ---
find_device() {
  local query=name,driver_version,memory.total,compute_cap
  device='' why='no nvidia-smi here'
  command -v nvidia-smi >/dev/null || return
  why="nvidia-smi sees no GPU"
  device=$(timeout 60 nvidia-smi --query-gpu=$query --format=csv,noheader 2>/dev/null </dev/null | head -n 1)
  case $device in *,*,*,*) ;; *) device=''; return ;; esac
  cuda=$(timeout 60 nvidia-smi 2>/dev/null </dev/null | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/\1/p' | head -n 1)
  export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}  # ranks share one, also where there are more
}

# CUDA's libraries as the toolkit has them, or Python's packages of them: what the loader would not find itself.
find_cuda_libraries() {
  local folder packages
  packages=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null)
  for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" "$packages"/nvidia/*/lib /usr/local/nvidia/lib64; do
    if compgen -G "$folder/lib*.so*" >/dev/null; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder; fi
  done
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
  PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
}

# --- the program ---
can_build() {
  command -v nvcc >/dev/null && command -v cmake >/dev/null && [ -e "$here/CMakeLists.txt" ] || return 1
  (cd "$here" && timeout "$longest" tools/build.sh build-gpu help -DSHERD_TESTS=ON) >"$out/logs/configure.log" 2>&1 &&
    return
  say "cannot build here: $(grep -m1 -A2 'CMake Error' "$out/logs/configure.log" | paste -s -d ' ' | tr -s ' ')"
  return 1
}

choose_program() {
  local archives=("$here"/build-bundle/*.tar.[xg]z)
  if [ -z "$bundle$build" ]; then
    if [ -e "$here/MANIFEST" ]; then bundle=$here
    elif [ -n "$device" ] && can_build; then build=$here/build-gpu
    elif [ -e "${archives[0]}" ]; then bundle=${archives[0]}
    elif [ -z "$device" ]; then build=$here/build
    else
      die "no program: neither nvcc with Sherd's libraries nor a bundle; 'make bundle' elsewhere, then --bundle FILE"
    fi
  fi
  if [ -f "$bundle" ]; then unpack; fi
  if [ -n "$bundle" ]; then
    [ -e "$bundle/MANIFEST" ] || die "no MANIFEST in $bundle; expected a bundle's folder or archive"
    root=$(cd "$bundle" && pwd)
    sherd=$root/bin/sherd
    export SHERD_GOLDEN_DIR=$root/tests/golden
  else
    root=$here
    build=$(realpath -m "$build")
    sherd=$build/src/app/sherd
  fi
}

# Once per archive.
unpack() {
  local mark
  mark=$(cksum <"$bundle")
  if [ "$(cat "$out/bundle/.archive" 2>/dev/null)" != "$mark" ]; then
    rm -rf "$out/bundle"
    mkdir -p "$out/bundle"
    tar -xf "$bundle" -C "$out/bundle" --strip-components=1 || die "cannot unpack $bundle"
    echo "$mark" >"$out/bundle/.archive"
  fi
  bundle=$out/bundle
}

# The machine code that this device runs, rather than what its driver makes of another one's.
own_architecture() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  case $capability in
    90) echo 90a ;;
    [0-9]*) echo "$capability" ;;
    *) echo "80;90a;100" ;;
  esac
}

make_build() {
  [ -n "$build" ] && [ -n "$device" ] || return 0
  export SHERD_CUDA_ARCHITECTURES=${SHERD_CUDA_ARCHITECTURES:-$(own_architecture)}
  say "building in $build"
  (cd "$here" && timeout "$budget" tools/build.sh "$build" all -DSHERD_TESTS=ON) >"$out/logs/build.log" 2>&1
  case $? in
    0) ;;
    124) say "left: everything; time was up while building; call again"; exit 75 ;;
    *) tail -n 20 "$out/logs/build.log"; say "failed: build (see $out/logs/build.log)"; exit 1 ;;
  esac
}

# run LOG COMMAND...: in the root, with the bundle's settings, as long as time allows. Sets cut_short if that was not long.
run() {
  local log=$1 left=$((budget - SECONDS)) allowed=$longest code
  local -a launcher=()
  shift
  if [ -n "$bundle" ]; then launcher=("$root/bin/run"); fi
  if [ $left -lt "$allowed" ]; then allowed=$left; fi
  if [ "$allowed" -lt 1 ]; then cut_short=yes; return 124; fi
  (cd "$root" && exec timeout -k 10 "$allowed" "${launcher[@]}" "$@") >>"$log" 2>&1 </dev/null
  code=$?
  if [ $code = 137 ]; then code=124; fi
  if [ $code = 124 ] && [ "$allowed" -lt "$longest" ] && [ $SECONDS -ge $((budget - 2)) ]; then cut_short=yes; fi
  return $code
}

# --- what is done already ---
# start_or_go_on FOLDER ARCHIVE TEXT OTHER...: results in FOLDER of OUT hold for this GPU and what TEXT sums up; others are
# removed, and the folders OTHER with them. An ARCHIVE in OUT is gone on from.
start_or_go_on() {
  local folder=$out/$1 archive=$out/$2 mark
  mkdir -p "$folder"
  [ -n "$device" ] || return
  if ! [ -e "$folder/.of" ] && [ -e "$archive" ]; then tar -xzf "$archive" -C "$out"; fi
  mark="$device $3"
  if [ "$(cat "$folder/.of" 2>/dev/null || echo "$mark")" != "$mark" ]; then
    say "the $1 in $out are of another GPU, driver or program: starting anew"
    (cd "$out" && rm -rf "$1" "${@:4}")
    mkdir -p "$folder"
  fi
  echo "$mark" >"$folder/.of"
}
