#!/bin/bash
# gpu_check.sh [--bundle FOLDER_OR_ARCHIVE | --build FOLDER] [--out FOLDER]: everything that only a GPU can prove, in one
# command: the GPU tests, compute-sanitizer over them, 50 steps of training in
# bf16 against the CPU's losses, and 1, 2 and 4 ranks on one GPU in fp32 against each other. Without options it takes the
# bundle it lies in, or builds in build-gpu where nvcc and the libraries are, or takes what `make bundle` left.
#
# Each finished check leaves a file in OUT/checks (out/gpu/checks), and the next call goes on from there; remove the file
# to have a check again. Another GPU, driver or program starts anew. After BUDGET_SECONDS (500) it ends and names what is
# left; a check may take CHECK_SECONDS (240). The result is OUT/gpu_check.json, the same as a table in gpu_check.md, and
# gpu_check.tar.gz with checks and logs, which another machine can go on from, too.
# Exit: 0 all passed or were skipped, 1 a check failed, 2 usage or no program, 75 time was up: call again.
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")/.." && pwd)
budget=${BUDGET_SECONDS:-500}
longest=${CHECK_SECONDS:-240}
small=20     # seconds below which no further check is begun
out=out/gpu bundle='' build=''
declare -A action                             # by a check's name: function and arguments, separated by tabs
declare -A status seconds figure limit what detail  # its result
order=()

. "$here/tools/gpu_check/checks.sh"
. "$here/tools/gpu_check/report.sh"

die() { echo "gpu_check: $*" >&2; exit 2; }
say() { echo "gpu_check: $*"; }
quote() { local text=${1//[^ -~]/ }; text=${text//\\/\\\\}; printf '"%s"' "${text//\"/\\\"}"; }
plan() { local IFS=$'\t'; order+=("$1"); action[$1]="${*:2}"; }

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --bundle | --build | --out)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in --bundle) bundle=$2 ;; --build) build=$2 ;; --out) out=$2 ;; esac
        shift 2
        ;;
      *) sed -n '2,12p' "$0" >&2; exit 2 ;;
    esac
  done
  [ -z "$bundle" ] || [ -z "$build" ] || die "either --bundle or --build"
  case $budget:$longest in
    :* | *: | *[!0-9:]*) die "BUDGET_SECONDS=$budget and CHECK_SECONDS=$longest: expected whole numbers" ;;
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

# --- which checks there are ---
gpu_tests() {  # name, labels and the words of the command
  if [ -n "$bundle" ]; then sed -n 's/^# test:\t//p' "$root/MANIFEST" | awk -F '\t' '("," $2 ",") ~ /,gpu,/'
  elif [ -e "$build/CTestTestfile.cmake" ]; then "$here/tools/test_commands.sh" "$build" '^gpu$'; fi
}

# A GoogleTest's suites, each sanitized by itself: what is done stays done when time is up.
suites_of() {
  local -a words
  IFS=$'\t' read -ra words <<<"$1"
  run /dev/stderr "${words[@]}" --gtest_list_tests 2>&1 | sed -n 's/^\([A-Za-z0-9_/]*\)\.\( .*\)\?$/\1/p'
}

make_plan() {
  local tests name labels words tool suite suites
  tests=$(gpu_tests)
  if [ -z "$tests" ]; then
    [ -z "$device" ] || die "there are no GPU tests in ${bundle:+$root}$build: it was built without CUDA"
    tests=$'cuda_test\tgpu\ttests/cuda_test'
  fi
  while IFS=$'\t' read -r name _ words; do plan "test.$name" check_test "$name" "$words"; done <<<"$tests"
  plan train.cpu.bf16 check_train cpu.bf16 - - 1 cpu bf16 50
  plan train.cuda.bf16 check_train cuda.bf16 cpu.bf16 2e-2 1 cuda bf16 50
  plan train.cuda.attention check_train cuda.attention cpu.bf16 2e-2 1 cuda bf16 50 --attention auto
  plan ranks.1 check_train ranks.1 - - 1 cuda fp32 20
  plan ranks.2 check_train ranks.2 ranks.1 1e-5 2 cuda fp32 20
  plan ranks.4 check_train ranks.4 ranks.1 1e-5 4 cuda fp32 20
  for tool in memcheck racecheck; do
    while IFS=$'\t' read -r name labels words; do
      case ,$labels, in *,mpi,* | *,golden,* | *,program,*) continue ;; esac  # the op tests run the same kernels
      suites=''
      [ -z "$device" ] || suites=$(suites_of "$words")
      [ -n "$suites" ] || plan "$tool.$name" check_sanitizer $tool "$words"
      for suite in $suites; do
        plan "$tool.$name.${suite//\//-}" check_sanitizer $tool "$words" "--gtest_filter=$suite.*"
      done
    done <<<"$tests"
  done
}

# --- what is done already ---
# Results hold for this GPU and these programs only.
start_or_go_on() {
  local mark
  mkdir -p "$out/checks"
  [ -n "$device" ] || return
  if ! [ -e "$out/checks/.of" ] && [ -e "$out/gpu_check.tar.gz" ]; then tar -xzf "$out/gpu_check.tar.gz" -C "$out"; fi
  mark="$device $(programs | xargs -d '\n' cat | cksum)"
  if [ "$(cat "$out/checks/.of" 2>/dev/null || echo "$mark")" != "$mark" ]; then
    say "the checks in $out are of another GPU, driver or program: starting anew"
    rm -rf "$out/checks" "$out/losses"
    mkdir -p "$out/checks"
  fi
  echo "$mark" >"$out/checks/.of"
}

programs() {
  if [ -n "$bundle" ]; then echo "$root/MANIFEST"; return; fi  # which has the sums of all
  echo "$sherd"
  gpu_tests | cut -f 3- | tr '\t' '\n' | grep "^$build/" | sort -u
}

keep() {
  status[$1]=$result seconds[$1]=$took figure[$1]=$measured limit[$1]=$bound what[$1]=$meaning detail[$1]=$reason
  [ "$result" = pass ] || [ "$result" = fail ] || return
  printf '%s\n' "$result" "$took" "$measured" "$bound" "$meaning" "$reason" >"$out/checks/$1.part"
  mv "$out/checks/$1.part" "$out/checks/$1"
}

recall() {
  local -a line
  mapfile -t line <"$out/checks/$1"
  status[$1]=${line[0]} seconds[$1]=${line[1]} figure[$1]=${line[2]}
  limit[$1]=${line[3]} what[$1]=${line[4]} detail[$1]=${line[5]}
}

perform() {
  local name=$1 begin words log=$out/logs/$1.log
  if [ -n "$device" ] && [ -s "$out/checks/$name" ]; then recall "$name"; return; fi
  result='' measured='' bound='' meaning='' reason='' took=0 cut_short=''
  if [ -z "$device" ]; then result=skipped reason=$why
  elif [ $((budget - SECONDS)) -lt $small ]; then result=left reason="time was up"
  else
    IFS=$'\t' read -ra words <<<"${action[$name]}"
    rm -f "$log"
    begin=$(date +%s%N)
    "${words[@]}"
    took=$(awk -v ns=$(($(date +%s%N) - begin)) 'BEGIN { printf "%.1f", ns / 1e9 }')
    if [ -n "$cut_short" ]; then result=left reason="time was up"; fi
  fi
  keep "$name"
  say "$result  $name  ${took} s${measured:+  $measured $meaning}${reason:+  ($reason)}"
}

parse "$@"
mkdir -p "$out/logs"
out=$(cd "$out" && pwd)
cuda=''
find_cuda_libraries
find_device
choose_program
make_build
start_or_go_on
make_plan
for name in "${order[@]}"; do perform "$name"; done
report
