#!/bin/bash
# gpu_bench_test.sh: tools/gpu_bench.sh without a GPU, and with stand-ins for nvidia-smi, PyTorch and our programs: medians
# and ratios, what is gone on with, left, failed and unmeasured. Changes nothing outside of its own folder.
export LC_ALL=C
# shellcheck source=tests/tools/check.sh
. "$(dirname "$0")/check.sh"

ends() { tail -n 1 "$work/said" | grep -qE -- "$1"; }

# One figure of the JSON, by a Python expression of `r` (the whole) and `row` (a row by how its text begins).
json() {
  python3 -c 'import json, sys
r = json.load(open(sys.argv[1], encoding="utf-8"))
row = lambda text: next(x for x in r["rows"] if x["what"].startswith(text))
passes, fp8 = row("CodeLlama-7B, bf16, selective, s 2048, 8,192 tokens a"), row("the first row with --fp8")
print(eval(sys.argv[2]))' "$work/out/gpu_bench.json" "$1"
}

bench() {  # ARGUMENTS...: with stand-ins before the system's own
  (cd "$work" && env "${settings[@]}" PATH="$work/bin:$PATH" PYTHON="$work/bin/python" "$root/tools/gpu_bench.sh" \
    --out "$work/out" "$@" >"$work/said" 2>&1 </dev/null)
  code=$?
}
calls() { grep -c -e "$1" "$work/calls"; }
anew() { rm -rf "$work/out"; : >"$work/calls"; rm -f "$work"/turn.*; settings=(FAKE= ROWS='^(7b_passes|7b_fp8|kernels|attention)'); }

mkdir -p "$work/bin" "$work/bundle/bin"
echo '# Sherd 9.9, commit fake' >"$work/bundle/MANIFEST"
# shellcheck disable=SC2016  # the stand-in expands
stand_in bin/nvidia-smi 'case $* in
  *--query-gpu*) echo "NVIDIA Fake, 580.1, ${GPU_MEMORY:-81559} MiB, 9.0" ;;
  *) echo "| NVIDIA-SMI 580.1   Driver Version: 580.1   CUDA Version: 13.0 |" ;;
esac'
stand_in bundle/bin/run 'exec "$@"'
stand_in bundle/bin/sherd 'echo "sherd 9.9"'
# What is said in turn: `turn NAME A B C` prints A at the first call with this NAME, then B, then C.
# shellcheck disable=SC2016
stand_in turn 'name=$1; shift; n=$(cat "$work/turn.$name" 2>/dev/null || echo 1); echo $((n + 1)) >"$work/turn.$name"; eval "echo \${$n}"'
export work
# shellcheck disable=SC2016
stand_in bundle/bin/train_bench 'echo "train $*" >>"$work/calls"
echo "products: 7 shapes"
case $FAKE:$* in
  crash:*) echo "sherd: error: loss is nan" >&2; exit 6 ;;
  unfit:*) echo "sherd: error: rank 0 needs 136 GiB" >&2; exit 4 ;;
  slow:*) sleep 5 ;;
  hangs:*) sleep 60 ;;
esac
case $* in
  *--fp8*) [ "$FAKE" != old ] || { echo "sherd: error: sherd train-bench: there is no --fp8; --help lists them" >&2; exit 2; }
    rate=$("$work/turn" fp8 18000 21000 17600) ;;
  *) rate=$("$work/turn" passes 15000 14000 16000) ;;
esac
echo "{\"bench\":\"train\",\"tokens_per_second\":$rate,\"mfu_of_datasheet\":0.61}"'
# shellcheck disable=SC2016
stand_in bin/python 'case $1 in */pytorch_gpu_bench.py) ;; *) exec python3 "$@" ;; esac
echo "torch $* $PYTORCH_CUDA_ALLOC_CONF" >>"$work/calls"
echo "a warning of some compiler" >&2
echo "{\"num_choices\": 20}" >&2
line="\"bench\": \"pytorch\", \"mode\": \"$3\", \"batch\": 4, \"accumulation\": 1, \"torch\": \"2.99\", \"cuda\": \"13.0\", \"model_class\": \"fake\""
[ "$FAKE" != none ] || { echo "{\"unmeasured\": \"no PyTorch in python3\"}"; exit; }
case $3 in
  plain) echo "{$line, \"tokens_per_second\": 10000, \"attention_used\": [\"a\"]}" ;;
  compile) line=${line/4/2}; line=${line/\"accumulation\": 1/\"accumulation\": 2}
    echo "{$line, \"allocator\": \"expandable_segments:True\", \"out_of_memory_at\": \"4,4\",
 \"tokens_per_second\": $("$work/turn" compile 12000 12500 12000)}" | tr -d "\n"; echo ;;
  *) echo "{$line, \"unmeasured\": \"out of memory at micro-batches of 1 x 2048: CUDA | out of memory\"}" ;;
esac'
# shellcheck disable=SC2016
stand_in bundle/bin/gpu_ops_bench 'echo "ops $*" >>"$work/calls"
case $* in
  *attention*)
    for direction in forward backward; do for packed in true false; do for by in ours cudnn; do
      echo "{\"bench\":\"attention\",\"length\":2048,\"direction\":\"$direction\",\"packed\":$packed,\"by\":\"$by\",\"tflops\":$(
        case $packed.$by in true.ours) echo 430 ;; true.cudnn) echo 400 ;; false.ours) echo 440 ;; *) echo 500 ;; esac)}"
    done; done; done
    echo "{\"bench\":\"attention\",\"length\":4096,\"direction\":\"forward\",\"packed\":true,\"by\":\"cudnn\",\"unmeasured\":\"too old\"}" ;;
  *)
    echo "{\"bench\":\"gpu_ops\"}"
    echo "{\"bench\":\"op\",\"op\":\"copy\",\"gb_per_second\":3000,\"share_of_copy\":1}"
    echo "{\"bench\":\"op\",\"op\":\"rope\",\"gb_per_second\":2700,\"share_of_copy\":0.9}"
    echo "{\"bench\":\"op\",\"op\":\"swiglu\",\"gb_per_second\":2400,\"share_of_copy\":$("$work/turn" swiglu 0.8 0.86 0.84)}" ;;
esac'

# --- no GPU ---
anew
mv "$work/bin/nvidia-smi" "$work/real-smi"
stand_in bin/nvidia-smi 'echo "No devices were found"; exit 6'
settings=(FAKE=)
bench --bundle bundle
expect "no GPU: exit 0" is $code 0
expect "no GPU: says so last" ends 'no GPU here \(nvidia-smi sees no GPU\): every row is unmeasured'
expect "no GPU: every row is there, and none has a number" is \
  "$(json 'len(r["rows"]), {x["ours"] for x in r["rows"]}, {x["met"] for x in r["rows"]}, r["device"]')" "(26, {None}, {None}, None)"
expect "no GPU: the reason is in the table" says '\| unmeasured \| unmeasured \|  \| 14,400 tok/s; .* no GPU here: nvidia-smi sees no GPU \|'
expect "no GPU: nothing was run" is "$(wc -l <"$work/calls")" 0
mv "$work/real-smi" "$work/bin/nvidia-smi"

# --- all is well ---
anew
bench --bundle bundle
expect "with a GPU: exit 0" is $code 0
expect "ours: the median of the rounds" is "$(json 'passes["ours"], r["rounds"]')" "(15000, 3)"
expect "PyTorch's best mode" is "$(json 'passes["best_mode"], passes["pytorch"], passes["modes"]["plain"]')" "('compile', 12000, 10000)"
expect "the ratio is that of pairs: median, least, most" is "$(json '[round(x, 3) for x in passes["ratio"]]')" "[1.25, 1.12, 1.333]"
expect "met" is "$(json 'passes["met"]')" True
expect "a mode that ran out of memory is named" is "$(json 'passes["unmeasured"]["compile-max-autotune"][:38]')" \
  "out of memory at micro-batches of 1 x "
expect "a smaller micro-batch is named" says '\| 12,000 tok/s \(compile, micro-batch 2 x 2\) \| 1\.25 \(1\.12 to 1\.33\) \|'
expect "what fitted is begun with in later rounds" is "$(calls '--mode compile .*--batch 2 --accumulation 2 expandable_segments:True')" 2
expect "what cannot be measured is tried once" is "$(calls '--mode compile-max-autotune')" 1
expect "ours and PyTorch's in turn" is \
  "$(grep -v -e ops -e fp8 "$work/calls" | sed 's/ --model.*//; s/torch.*--mode //' | paste -s -d ' ')" \
  "train plain compile compile-max-autotune train plain compile train plain compile"
expect "fp8 beside our bf16 of the same rounds" is "$(json '[round(x, 2) for x in fp8["ratio"]], fp8["met"]')" "([1.2, 1.1, 1.5], False)"
expect "an op's median share" is "$(json 'row("swiglu, ")["ours"], row("swiglu, ")["met"], row("rope")["met"], row("copy")["ours"]')" \
  "(0.84, False, True, 3000)"
expect "an op that was not printed" is "$(json 'row("rmsnorm,")["ours"], row("rmsnorm,")["met"]')" "(None, None)"
expect "attention: the faster of ours and cuDNN's, packed, beside cuDNN's dense" is \
  "$(json 'row("attention forward, packed, s 2048")["by"], row("attention forward, packed, s 2048")["ratio"][0], row("attention forward, packed, s 2048")["met"]')" \
  "('ours', 0.86, False)"
expect "attention without cuDNN's" is "$(json 'row("attention forward, packed, s 4096")["ratio"]')" None
expect "a row that was not asked for" is "$(json 'row("SmolLM")["ours"], row("SmolLM")["met"]')" "(None, None)"
expect "device and versions" is "$(json 'r["device"], "sherd 9.9" in r["versions"], any("PyTorch 2.99" in v for v in r["versions"])')" \
  "('NVIDIA Fake, 580.1, 81559 MiB, 9.0', True, True)"
expect "80 GB: the low-memory modes" is "$(calls 'train .*--master-weights split --moments-dtype 8bit --gradients-dtype bf16')" 6

# --- going on ---
: >"$work/calls"
bench --bundle bundle
expect "a second call repeats nothing" is "$code $(wc -l <"$work/calls") $(json 'passes["ours"]')" "0 0 15000"
rm "$work/out/rounds/7b_passes.plain.2"
bench --bundle bundle
expect "a measurement whose file was removed is repeated" is "$(wc -l <"$work/calls")" 1
: >"$work/calls"
rm -rf "$work/out/rounds" "$work/out/logs"
bench --bundle bundle
expect "gpu_bench.tar.gz alone is gone on from" is "$(wc -l <"$work/calls") $(json 'passes["ours"]')" "0 15000"
settings+=(GPU_MEMORY=143771)
bench --bundle bundle
expect "another GPU: starts anew" says 'another GPU, driver or program: starting anew'
expect "140 GB: fp32 masters and moments" is "$(calls 'train .*--master-weights')" 0

# --- no time ---
anew
settings=(FAKE=slow ROUNDS=1 ROWS='^7b_' MODES=plain BUDGET_SECONDS=29)
bench --bundle bundle
expect "time is up: exit 75" is $code 75
expect "time is up: what is left is named" says '^gpu_bench: left: 7b_passes.plain.1 7b_step.ours.1 .*call again'
expect "time is up: the first is kept" is "$(json 'passes["ours"], passes["ratio"]')" "(15000, None)"
settings=(FAKE= ROUNDS=1 ROWS='^7b_passes' MODES=plain)
bench --bundle bundle
expect "called again: the first is not repeated" is "$code $(calls '^train .*forward-backward')" "0 1"
anew
settings=(FAKE=hangs ROUNDS=1 ROWS='^7b_passes' MODES=plain ROW_SECONDS=2)
bench --bundle bundle
expect "a row that does not end is unmeasured" is "$code $(json 'passes["unmeasured"]["ours"], passes["pytorch"]')" \
  "0 ('did not end within 2 s', 10000)"

# --- failures, and what is missing ---
anew
settings+=(FAKE=crash ROUNDS=1)
bench --bundle bundle
expect "a program that fails: exit 1, named" is "$code $(tail -n 1 "$work/said")" \
  "1 gpu_bench: failed: 7b_passes.ours.1 7b_fp8.ours.1 "
expect "with its error" is "$(json 'passes["unmeasured"]["ours"]')" "exit 6; sherd: error: loss is nan"
expect "the others are measured" is "$(json 'row("rope")["ours"], passes["pytorch"]')" "(0.9, 12000)"
anew
settings+=(FAKE=unfit ROUNDS=2)
bench --bundle bundle
expect "what does not fit is unmeasured" is "$code $(json 'passes["unmeasured"]["ours"]')" "0 does not fit: rank 0 needs 136 GiB"
expect "and tried once" is "$(calls '^train')" 2
anew
settings+=(FAKE=old ROUNDS=1)
bench --bundle bundle
expect "a setting that the program lacks is unmeasured" is "$code $(json 'fp8["unmeasured"]["ours"][:46], passes["ours"]')" \
  "0 ('this program cannot: sherd train-bench: there ', 15000)"
anew
settings+=(FAKE=none ROUNDS=1)
bench --bundle bundle
expect "no PyTorch: ours alone" is "$code $(json 'passes["ours"], passes["pytorch"], passes["met"], passes["unmeasured"]["plain"]')" \
  "0 (15000, None, None, 'no PyTorch in python3')"
settings=(ROUNDS=0)
bench --bundle bundle
expect "no rounds: exit 2" is $code 2
bench --nonsense
expect "unknown option: exit 2, and how it is used" is "$code $(calls none) $(grep -c 'ROUNDS (3) times' "$work/said")" "2 0 1"
report
