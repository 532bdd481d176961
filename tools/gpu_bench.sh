#!/bin/bash
# gpu_bench.sh [--bundle FOLDER_OR_ARCHIVE | --build FOLDER] [--out FOLDER]: the table of docs/gpu/README.md, "Speed", in one
# command: steps of training, kernels and attention on this machine's GPU, ours and PyTorch's (of PYTHON, python3) in turn,
# ROUNDS (3) times, medians and ratios. Without options it takes the bundle it lies in, or builds in build-gpu where nvcc
# and the libraries are, or takes what `make bundle` left.
#
# Each measurement leaves a file in OUT/rounds (out/gpu_bench/rounds), and the next call goes on from there; remove the
# file to have it again. Another GPU, driver or program starts anew. After BUDGET_SECONDS (500) it ends and names what is
# left; a measurement may take ROW_SECONDS (420). ROWS (a pattern, all) chooses rows, MODES PyTorch's modes. The result is
# OUT/gpu_bench.json, the same as a table in gpu_bench.md, and gpu_bench.tar.gz, which another machine can go on from, too.
# Exit: 0 all was measured or is listed as unmeasured, 1 a program of ours failed, 2 usage or no program, 75 call again.
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")/.." && pwd)
budget=${BUDGET_SECONDS:-500}
longest=${ROW_SECONDS:-420}
me=gpu_bench usage='2,13p' longest_name=ROW_SECONDS
small=25     # seconds below which no further measurement is begun
rounds=${ROUNDS:-3}
modes=${MODES:-plain compile compile-max-autotune}
wanted=${ROWS:-.}
python=${PYTHON:-python3}
out=out/gpu_bench bundle='' build=''
given_libraries=${LD_LIBRARY_PATH:-}  # PyTorch brings its own CUDA
declare -A action                     # by a measurement's name, ROW.SIDE.ROUND: function and arguments, separated by tabs
declare -A status detail
order=()

. "$here/tools/gpu_check/program.sh"
. "$here/tools/gpu_bench/rows.sh"

# keep NAME STATUS REASON: and what the program printed, which is in $out/said. Later rounds of what cannot be measured are
# not tried.
keep() {
  local file=$out/rounds/$1
  status[$1]=$2 detail[$1]=$3
  case $2 in
    measured) result_lines "$out/said" >"$file.part" ;;
    unmeasured | failed) printf '{"%s": %s}\n' "$2" "$(quote "$3")" >"$file.part" ;;
    *) return ;;
  esac
  mv "$file.part" "$file"
}

# The status of a file in rounds: its first line says.
recall() {
  local line
  IFS= read -r line <"$out/rounds/$1"
  case $line in
    '{"unmeasured": '*) status[$1]=unmeasured detail[$1]=${line#*: } ;;
    '{"failed": '*) status[$1]=failed detail[$1]=${line#*: } ;;
    *) status[$1]=measured detail[$1]='' ;;
  esac
}

perform() {
  local name=$1 first=${1%.*}.1 words
  if [ -z "$device" ]; then status[$name]=unmeasured detail[$name]="no GPU here: $why"; return; fi
  if [ -s "$out/rounds/$name" ]; then recall "$name"; return; fi
  if [ "$name" != "$first" ] && [ "${status[$first]:-}" = unmeasured ]; then
    status[$name]=unmeasured detail[$name]=${detail[$first]}
    return
  fi
  cut_short='' result='' reason=''
  if [ $((budget - SECONDS)) -lt $small ]; then result=left reason="time was up"
  else
    IFS=$'\t' read -ra words <<<"${action[$name]}"
    rm -f "$out/said" "$out/logs/$name.log"
    "${words[@]}"
    if [ -n "$cut_short" ]; then result=left reason="time was up"; fi
  fi
  keep "$name" "$result" "$reason"
  say "$result  $name${reason:+  ($reason)}"
}

versions() {
  sed -n '1s/^# //p' "$root/MANIFEST" 2>/dev/null
  [ -z "$device" ] || (cd "$root" && timeout 60 "$sherd" --version 2>&1 </dev/null)
}

write_report() {
  local name
  {
    for name in "${order[@]}"; do printf '%s\t%s\t%s\n' "$name" "${status[$name]}" "${detail[$name]}"; done
  } >"$out/measurements"
  { printf 'device\t%s\ncuda\t%s\nwhy\t%s\nlow_memory\t%s\n' "$device" "$cuda" "$why" "$states_text"
    versions | sed 's/^/version\t/'; } >"$out/machine"
  "$python" "$here/tools/gpu_bench/report.py" "$out" || die "no report: $python is needed for it"
  tar -czf "$out/gpu_bench.tar.gz" -C "$out" rounds logs
}

names_with() {
  local name
  for name in "${order[@]}"; do if [ "${status[$name]}" = "$1" ]; then printf '%s ' "$name"; fi; done
}

conclude() {
  local count
  echo
  cat "$out/gpu_bench.md"
  echo
  if [ -z "$device" ]; then say "no GPU here ($why): every row is unmeasured; $out/gpu_bench.json"; exit 0; fi
  for count in measured unmeasured failed left; do printf '%s %s; ' "$count" "$(names_with $count | wc -w)"; done
  echo "$out/gpu_bench.json"
  if [ -n "$(names_with left)" ]; then say "left: $(names_with left)(call again to go on)"; fi
  if [ -n "$(names_with failed)" ]; then say "failed: $(names_with failed)"; exit 1; fi
  [ -z "$(names_with left)" ] || exit 75
}

parse "$@"
case $rounds in '' | *[!0-9]* | 0) die "ROUNDS=$rounds: expected a whole number from 1 on" ;; esac
mkdir -p "$out/logs" "$out/rounds"
out=$(cd "$out" && pwd)
cuda=''
find_cuda_libraries
find_device
choose_program
make_build
start_or_go_on rounds gpu_bench.tar.gz "$([ -z "$device" ] || programs | xargs -d '\n' cat | cksum)"
make_plan
for name in "${order[@]}"; do perform "$name"; done
write_report
conclude
