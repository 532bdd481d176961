#!/bin/bash
# gpu_check_test.sh: tools/gpu_check.sh without a GPU, and with stand-ins for nvidia-smi, compute-sanitizer, sherd and a
# GPU test: what is skipped, gone on with, left and failed. Changes nothing outside of its own folder.
export LC_ALL=C
# shellcheck source=tests/tools/check.sh
. "$(dirname "$0")/check.sh"

ends() { tail -n 1 "$work/said" | grep -qE -- "$1"; }

# One figure of the JSON, by a Python expression of `r` (the whole) and `c` (the checks by name); fails if it is no JSON.
json() {
  python3 -c 'import json, sys
r = json.load(open(sys.argv[1], encoding="utf-8"))
c = {check["name"]: check for check in r["checks"]}
print(eval(sys.argv[2]))' "$work/out/gpu_check.json" "$1"
}

check() {  # ARGUMENTS...: with stand-ins before the system's own
  (cd "$work" && env "${settings[@]}" PATH="$work/bin:$PATH" "$root/tools/gpu_check.sh" --out "$work/out" "$@" \
    >"$work/said" 2>&1 </dev/null)
  code=$?
}
calls() { grep -c "$1" "$work/calls"; }
anew() { rm -rf "$work/out"; : >"$work/calls"; settings=(FAKE=); }

mkdir -p "$work/bin" "$work/bundle/bin" "$work/bundle/tests" "$work/bundle/tools"
cp "$root/tools/mpirun.sh" "$work/bundle/tools/"
printf '%s\n' '# Sherd 9.9, commit fake' $'# test:\tcuda_test\tgpu\ttests/cuda_test' \
  $'# test:\tcuda_ranks.ranks2\tmpi,gpu\ttools/mpirun.sh\t2\ttests/cuda_test' \
  $'# test:\tgolden_cuda_test\tgolden,gpu\ttests/cuda_test' $'# test:\tops_test\t-\ttests/ops_test' >"$work/bundle/MANIFEST"
# shellcheck disable=SC2016  # the stand-in expands
stand_in bin/nvidia-smi 'case $* in
  *--query-gpu*) echo "${GPU_NAME:-NVIDIA Fake}, 580.1, 81559 MiB, 9.0" ;;
  *) echo "| NVIDIA-SMI 580.1   Driver Version: 580.1   CUDA Version: 13.0 |" ;;
esac'
stand_in bin/compute-sanitizer "while [ \"\${1#-}\" != \"\$1\" ]; do
  case \$1 in --version) echo 'Version 2025.3'; exit ;; --tool) tool=\$2 ;; esac
  shift 2
done
echo \"sanitizer \$tool \$*\" >>'$work/calls'
[ \"\$FAKE\" != unsupported ] || { echo '========= Error: Device not supported'; exit 1; }
\"\$@\" || exit
errors=0
[ \"\$FAKE \$tool \$2\" != 'race racecheck --gtest_filter=Shapes/Attention.*' ] || errors=3
[ \$tool = memcheck ] && echo \"========= ERROR SUMMARY: \$errors errors\" ||
  echo \"========= RACECHECK SUMMARY: \$errors hazards displayed (\$errors errors, 0 warnings)\"
[ \$errors = 0 ] || exit 9"
# shellcheck disable=SC2016
stand_in bin/mpirun 'while [ "$1" != "${1#-}" ]; do ranks=$2; shift 2; done; RANKS=$ranks exec "$@"'
stand_in bundle/bin/run 'exec "$@"'
stand_in bundle/tests/cuda_test "case \$* in *list_tests*) printf 'Gemm.\n  Odd\nShapes/Attention.  # about shapes\n  Seven/0\n'; exit ;; esac
echo \"cuda_test \$*\" >>'$work/calls'
[ \"\$FAKE\" != slow ] || sleep 12
[ \"\$FAKE\" != asleep ] || sleep 60
[ \"\$FAKE\" != crash ] || { echo 'quote \" and \\ back'; echo '[  FAILED  ] Gemm.Odd'; exit 1; }
[ \"\$FAKE\" != skips ] || { echo '[  PASSED  ] 0 tests.'; echo '[  SKIPPED ] 3 tests, listed below:'; exit; }
echo 'figure: gemm within 3.0e-06'
echo '[  PASSED  ] 3 tests.'"
stand_in bundle/bin/sherd "echo \"sherd \$*\" >>'$work/calls'
command=\$1
case \$* in *'--attention auto'*) printf '12:00:00 attention%s\n' ' f32: ours 2 us' ' bf16: ours 1 us' \": ours (\$XDG_CACHE_HOME)\" >&2 ;; esac
while [ \$# -gt 0 ]; do
  case \$1 in --output) output=\$2 ;; --device) device=\$2 ;; --max-training-steps) steps=\$2 ;; --version) echo 'sherd 9.9' ;; esac
  shift
done
[ \$command != prepare ] || : >\"\$output\"
[ \$command = train ] || exit 0
mkdir -p \"\$output\"
for step in \$(seq \"\$steps\"); do
  loss=2.5
  [ \"\$device\" = cpu ] || loss=2.51
  [ \"\${RANKS:-1}\" != 4 ] || loss=2.51001
  [ \"\$FAKE \$step\" != 'apart 50' ] || [ \"\$device\" = cpu ] || loss=2.6
  [ \"\$FAKE \$step\" != 'nan 7' ] || loss=NaN
  echo \"{\\\"step\\\":\$step,\\\"total_steps\\\":\$steps,\\\"loss\\\":\$loss,\\\"learning_rate\\\":0.1}\"
done >\"\$output/metrics.jsonl\"
echo '{\"step\":1,\"eval_loss\":9}' >>\"\$output/metrics.jsonl\""

# --- no GPU ---
anew
mv "$work/bin/nvidia-smi" "$work/real-smi"
stand_in bin/nvidia-smi 'echo "No devices were found"; exit 6'
check --bundle bundle
expect "no GPU: exit 0" is $code 0
expect "no GPU: every check is skipped by name" is "$(grep -c '^gpu_check: skipped ' "$work/said")" 16
for name in test.cuda_test test.cuda_ranks.ranks2 train.cuda.bf16 ranks.4 memcheck.cuda_test racecheck.cuda_test; do
  expect "no GPU: $name among them" says "^gpu_check: skipped  $name  "
done
expect "no GPU: says so last" ends 'no GPU \(nvidia-smi sees no GPU\): all .* checks skipped'
expect "no GPU: JSON says so" is "$(json 'r["device"], r["skipped"], {x["status"] for x in r["checks"]}')" \
  "(None, $(json 'len(c)'), {'skipped'})"
expect "no GPU: nothing was run" is "$(wc -l <"$work/calls")" 0
check
expect "no GPU, from the source tree: exit 0" is $code 0
expect "no GPU, from the source tree: names" says '^gpu_check: skipped  test\.'
mv "$work/real-smi" "$work/bin/nvidia-smi"

# --- all is well ---
anew
check --bundle bundle
expect "with a GPU: exit 0" is $code 0
expect "with a GPU: all passed" is "$(json 'r["passed"], r["failed"], r["skipped"], r["left"]')" "(18, 0, 0, 0)"
expect "the device" is "$(json '" ".join(r["device"].values())')" "NVIDIA Fake 580.1 13.0 81559 MiB 9.0"
expect "the versions" is "$(json '"sherd 9.9" in r["versions"], "compute-sanitizer 2025.3" in r["versions"]')" "(True, True)"
expect "a test's figures" is "$(json 'c["test.cuda_test"]["figure"], c["test.cuda_test"]["figures"]')" \
  "(3, ['gemm within 3.0e-06'])"
expect "suites are sanitized one by one" is "$(grep -c '^sanitizer .*check tests/cuda_test' "$work/calls")" 4
expect "a suite with parameters, too" is "$(calls 'sanitizer racecheck tests/cuda_test --gtest_filter=Shapes/Attention\.\*$')" 1
expect "the losses' difference" is "$(json '0.0039 < c["train.cuda.bf16"]["figure"] < 0.0041, c["train.cuda.bf16"]["limit"]')" \
  "(True, 0.02)"
expect "that of four ranks" is "$(json '3e-6 < c["ranks.4"]["figure"] < 5e-6, c["ranks.4"]["limit"]')" "(True, 1e-05)"
expect "the CPU's and the GPU's runs differ in the device alone" is \
  "$(grep 'sherd train.*bf16' "$work/calls" | grep -v -e attention -e graphs -e split -e fp8 | sed 's/--device [a-z]*//; s/--output [^ ]*//' | sort -u | wc -l)" 1
expect "cuDNN's attention may compete once" is "$(calls 'sherd train .*--device cuda --dtype bf16 .* --attention auto$')" 1
expect "whose attention it was" is "$(json 'c["train.cuda.attention"]["detail"], c["train.cuda.bf16"]["detail"]')" \
  "('attention f32: ours 2 us; attention bf16: ours 1 us; attention: ours ($work/out/cache)', '')"
expect "a table" says '^\| train.cuda.bf16 \| pass \| [0-9.]+ \| 0.004 relative difference .* \| 2e-2 \|'
expect "the sanitizers in one row each" says '^\| memcheck: the others \| pass \| \| 2 suites without errors'

# --- going on ---
: >"$work/calls"
check --bundle bundle
expect "a second call: exit 0" is $code 0
expect "a second call repeats nothing" is "$(calls -e 'cuda_test' -e 'sherd train')" 0
expect "and reports the same" is "$(json 'r["passed"]')" 18
rm "$work/out/checks/ranks.2"
check --bundle bundle
expect "a check whose file was removed is repeated" is "$(calls 'sherd train')" 1
: >"$work/calls"
rm -rf "$work/out/checks" "$work/out/logs" "$work/out/losses"
check --bundle bundle
expect "gpu_check.tar.gz alone is gone on from" is "$(calls -e 'cuda_test' -e 'sherd train'), $(json 'r["passed"]')" "0, 18"
settings=(FAKE= GPU_NAME=Other)
check --bundle bundle
expect "another GPU: starts anew" says 'another GPU, driver or program: starting anew'
expect "another GPU: all is run" is "$(calls 'sherd train')" 11

# --- no time ---
anew
settings=(FAKE=slow BUDGET_SECONDS=31)  # with less than 20 s no check is begun
check --bundle bundle
expect "time is up: exit 75" is $code 75
expect "time is up: what is left is named" says '^gpu_check: left: test.cuda_ranks.ranks2 test.golden_cuda_test train.cpu.bf16 .*racecheck'
expect "time is up: the first check is kept" is "$(json 'c["test.cuda_test"]["status"], r["passed"], r["left"]')" "('pass', 1, 17)"
settings=(FAKE=)
check --bundle bundle
expect "called again: exit 0" is $code 0
expect "called again: the first check is not repeated" is "$(calls '^cuda_test $')" 3
anew
settings=(FAKE=asleep CHECK_SECONDS=1)
check --bundle bundle
expect "a check that hangs fails" is "$code $(json 'c["test.cuda_test"]["detail"]')" "1 did not end within 1 s"

# --- failures ---
anew
settings=(FAKE=crash)
check --bundle bundle
expect "a failing test: exit 1" is $code 1
expect "a failing test is named" ends '^gpu_check: failed: test.cuda_test test.cuda_ranks.ranks2 test.golden_cuda_test memcheck'
expect "with what failed" is "$(json 'c["test.cuda_test"]["status"], c["test.cuda_test"]["detail"]')" \
  "('fail', 'exit 1; [  FAILED  ] Gemm.Odd')"
expect "the others are done" is "$(json 'c["ranks.4"]["status"]')" pass
check --bundle bundle
expect "a failure stays one: exit 1" is $code 1
anew
settings=(FAKE=race)
check --bundle bundle
expect "a race: exit 1" is "$code $(json 'r["failed"], c["racecheck.cuda_test.Shapes-Attention"]["figure"]')" "1 (1, 3)"
expect "a race is named" ends 'failed: racecheck.cuda_test.Shapes-Attention \('
anew
settings=(FAKE=apart)
check --bundle bundle
expect "losses apart at the last step: exit 1" is "$code $(json 'c["train.cuda.bf16"]["detail"]')" \
  "1 the losses differ by 0.04; at most 2e-2 is right"
anew
settings=(FAKE=nan)
check --bundle bundle
expect "no number for a loss: exit 1" is "$code $(json 'c["train.cuda.bf16"]["status"]')" "1 fail"
anew
settings=(FAKE=skips)
check --bundle bundle
expect "a test that skips itself has proven nothing" is "$(json 'c["test.cuda_test"]["status"], r["failed"]')" "('skipped', 0)"
anew
settings=(FAKE=unsupported)
check --bundle bundle
expect "compute-sanitizer refuses the device: skipped" is "$code $(json 'c["memcheck.cuda_test.Gemm"]["detail"]')" \
  "0 compute-sanitizer: Device not supported"

# --- from an archive, from a build, and from nothing ---
anew
tar -czf "$work/b.tar.gz" -C "$work" bundle
check --bundle b.tar.gz
expect "an archive: exit 0" is "$code $(json 'r["program"], r["passed"]')" "0 ('bundle', 18)"
anew
stand_in bin/cmake ':'
mkdir -p "$work/build/src/app"
touch "$work/build/build.ninja"
cp "$work/bundle/bin/sherd" "$work/build/src/app/sherd"
cp "$work/bundle/tests/cuda_test" "$work/build/cuda_test"
printf 'add_test(%s %s)\nset_tests_properties(%s PROPERTIES LABELS "%s")\n' cuda_test "$work/build/cuda_test" cuda_test gpu \
  ops_test "$work/build/none" ops_test other >"$work/build/CTestTestfile.cmake"
check --build build
expect "a build: exit 0" is "$code $(json 'r["program"], r["passed"]')" "0 ('build', 16)"
expect "a build: tests by ctest" grep -q '100% tests passed' "$work/out/logs/test.cuda_test.log"
expect "a build: their figures" is "$(json 'c["test.cuda_test"]["figure"], c["test.cuda_test"]["figures"]')" \
  "(3, ['gemm within 3.0e-06'])"
stand_in bin/cmake 'echo "FAILED: gemm.cu" >&2; exit 1'
check --build build
expect "a build that fails: exit 1, and why" is "$code $(grep -c -e 'FAILED: gemm.cu' -e '^gpu_check: failed: build' "$work/said")" "1 2"
anew
sed '/gpu/d' "$work/bundle/MANIFEST" >"$work/other" && mv "$work/other" "$work/bundle/MANIFEST"
check --bundle bundle
expect "a program without GPU tests: exit 2" is "$code $(tail -n 1 "$work/said")" \
  "2 gpu_check: there are no GPU tests in $work/bundle: it was built without CUDA"
mkdir "$work/empty"
check --bundle empty
expect "no bundle: exit 2" is $code 2
expect "no bundle: says what was expected" says "no MANIFEST in empty; expected a bundle's folder or archive"
check --nonsense
expect "unknown option: exit 2" is $code 2
settings=(BUDGET_SECONDS=soon)
check --bundle bundle
expect "a budget that is no number: exit 2" is $code 2
report
