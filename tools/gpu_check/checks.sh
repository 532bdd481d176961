# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables of gpu_check.sh
# Sourced by gpu_check.sh: the checks. Each sets `result` (pass, fail or skipped) and, where there is one, the figure it
# measured, its bound, what the figure means, and the reason of a failure. `log` is its log.

result_of_gtest() {  # CODE LOG
  local passed skipped
  passed=$(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$2" | head -n 1)
  skipped=$(sed -n 's/.*\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$2" | head -n 1)
  measured=$passed meaning="tests passed"
  if [ "$1" = 124 ]; then result=fail reason="did not end within $longest s"
  elif [ "$1" != 0 ]; then
    result=fail reason="exit $1; $(grep -m1 -E '\[  FAILED  \] [^0-9]|[Ee]rror' "$2" || tail -n 1 "$2")"
  elif grep -q '\*\*\*Skipped' "$2" || [ "${passed:-1}" = 0 ]; then result=skipped reason="every test skipped itself"
  else result=pass reason=${skipped:+"$skipped tests skipped themselves"}; fi
}

check_test() {  # NAME COMMAND...: as ctest runs it where there is one
  local name=$1
  shift
  if [ -n "$build" ] && command -v ctest >/dev/null; then set -- ctest --test-dir "$build" -R "^${name//./\\.}\$" -V; fi
  run "$log" "$@"
  result_of_gtest $? "$log"
}

# Errors that calls return are no finding: each call is checked, and some tests want them. Races are looked for in our own
# kernels, since the libraries' take too long.
check_sanitizer() {  # TOOL COMMAND...
  local tool=$1 code found
  local -a options=(--tool "$1" --error-exitcode 9)
  shift
  if ! command -v compute-sanitizer >/dev/null; then result=skipped reason="no compute-sanitizer here"; return; fi
  case $tool in
    memcheck) options+=(--report-api-errors no) ;;
    racecheck) options+=(--kernel-name kernel_substring=sherd) ;;
  esac
  run "$log" compute-sanitizer "${options[@]}" "$@"
  code=$?
  if grep -q 'Device not supported' "$log"; then
    result=skipped reason="compute-sanitizer: Device not supported"
    return
  fi
  result_of_gtest $code "$log"
  found=$(sed -n 's/.*\(ERROR\|RACECHECK\) SUMMARY: \([0-9]*\) [eh].*/\2/p' "$log" | tail -n 1)
  measured=$found bound=0 meaning="errors found"
  if [ "$result" = pass ] && [ "$found" != 0 ]; then
    result=fail reason="compute-sanitizer's summary says ${found:-nothing} errors"
  elif [ $code = 9 ]; then
    reason="exit 9; $(grep -m1 -E '^=+ (Invalid|Error|Race|Warning|Program hit)' "$log")"
  fi
}

# A corpus, once; then one run of the small model. Its losses go to OUT/losses/NAME.
train() {  # NAME RANKS DEVICE DTYPE STEPS FLAG...
  local folder=$out/runs/$1 corpus=$out/runs/corpus.h5
  local -a ranks=()
  mkdir -p "$out/runs" "$out/losses"
  if ! [ -e "$corpus" ]; then
    run "$log" "$sherd" prepare --input inputs/chess_sample.jsonl --output "$out/runs/part.h5" \
      --tokenizer "$out/runs/tokenizer.model" --train-tokenizer 160 || return
    mv "$out/runs/part.h5" "$corpus"
  fi
  rm -rf "$folder"
  if [ "$2" != 1 ]; then ranks=(tools/mpirun.sh "$2"); fi
  run "$log" "${ranks[@]}" "$sherd" train --config inputs/chess_tiny.toml --model inputs/chess_tiny --from-scratch \
    --data "$corpus" --tokenizer "$out/runs/tokenizer.model" --output "$folder" --resume none --seed 42 \
    --device "$3" --dtype "$4" --reduce-dtype fp32 --max-training-steps "$5" --eval-batches 0 "${@:6}" || return
  sed -n 's/.*"step": *\([0-9]*\).*"loss": *\([^,}]*\).*/\1 \2/p' "$folder/metrics.jsonl" >"$out/losses/$1.part"
  rm -rf "$folder"
  reason="$(wc -l <"$out/losses/$1.part") losses in metrics.jsonl; expected $5"
  [ "${reason%% *}" -eq "$5" ] || return 1
  reason=''
  mv "$out/losses/$1.part" "$out/losses/$1"
}

# The largest relative difference of two runs' losses, or nan.
difference() {
  paste -d ' ' "$out/losses/$1" "$out/losses/$2" | awk '
    function is_number(text) { return text ~ /^-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$/ }
    $1 != $3 || !is_number($2) || !is_number($4) { bad = 1 }
    { d = $2 - $4; if (d < 0) d = -d; if ($2 != 0) d /= ($2 < 0 ? -$2 : $2); if (d > worst) worst = d }
    END { if (bad || NR == 0) print "nan"; else printf "%.3g\n", worst }'
}

check_train() {  # NAME OTHER BOUND RANKS DEVICE DTYPE STEPS FLAG...: and, unless OTHER is -, against that run's losses
  local name=$1 other=$2 code
  if [ "$other" != - ] && ! [ -e "$out/losses/$other" ]; then
    result=skipped reason="there are no losses of $other"
    return
  fi
  train "$name" "${@:4}"
  code=$?
  if [ $code = 124 ]; then result=fail reason="did not end within $longest s"; return; fi
  if [ $code != 0 ]; then
    result=fail reason=${reason:-"exit $code; $(grep -m1 -i error "$log" || tail -n 1 "$log")"}
    return
  fi
  result=pass measured=$(tail -n 1 "$out/losses/$name" | cut -d ' ' -f 2) meaning="loss at the last step"
  case $* in *--attention*) reason=$(sed -n 's/^.*\(attention[ :].*\)$/\1/p' "$log" | sed '$!s/$/;/' | paste -sd ' ') ;; esac
  [ "$other" != - ] || return
  measured=$(difference "$other" "$name") bound=$3 meaning="relative difference of losses from $other"
  awk -v a="$measured" -v b="$bound" 'BEGIN { exit !(a != "nan" && a + 0 <= b + 0) }' && return
  result=fail reason="the losses differ by $measured; at most $bound is right"
}
