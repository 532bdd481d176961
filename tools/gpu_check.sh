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
me=gpu_check usage='2,12p' longest_name=CHECK_SECONDS
small=20     # seconds below which no further check is begun
out=out/gpu bundle='' build=''
declare -A action                             # by a check's name: function and arguments, separated by tabs
declare -A status seconds figure limit what detail  # its result
order=()

. "$here/tools/gpu_check/program.sh"
. "$here/tools/gpu_check/checks.sh"
. "$here/tools/gpu_check/report.sh"

plan() { local IFS=$'\t'; order+=("$1"); action[$1]="${*:2}"; }

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
  local reduced=(--master-weights split --moments-dtype 8bit --gradients-dtype bf16)
  tests=$(gpu_tests)
  if [ -z "$tests" ]; then
    [ -z "$device" ] || die "there are no GPU tests in ${bundle:+$root}$build: it was built without CUDA"
    tests=$'cuda_test\tgpu\ttests/cuda_test'
  fi
  while IFS=$'\t' read -r name _ words; do plan "test.$name" check_test "$name" "$words"; done <<<"$tests"
  plan train.cpu.bf16 check_train cpu.bf16 - - 1 cpu bf16 50
  plan train.cuda.bf16 check_train cuda.bf16 cpu.bf16 2e-2 1 cuda bf16 50
  plan train.cuda.attention check_train cuda.attention cpu.bf16 2e-2 1 cuda bf16 50 --attention auto
  plan train.cuda.enqueued check_train cuda.enqueued cuda.bf16 0 1 cuda bf16 50 --no-cuda-graphs
  plan train.cpu.small check_train cpu.small - - 1 cpu bf16 50 "${reduced[@]}"
  plan train.cuda.small check_train cuda.small cpu.small 5e-2 1 cuda bf16 50 "${reduced[@]}"
  plan train.cpu.fp8 check_train cpu.fp8 - - 1 cpu bf16 50 --fp8
  plan train.cuda.fp8 check_train cuda.fp8 cpu.fp8 5e-2 1 cuda bf16 50 --fp8
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
start_or_go_on checks gpu_check.tar.gz "$([ -z "$device" ] || programs | xargs -d '\n' cat | cksum)" losses cache
export XDG_CACHE_HOME=$out/cache  # searches of algorithms are a part of the checks, and not the user's
make_plan
for name in "${order[@]}"; do perform "$name"; done
report
