# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables of gpu_bench.sh
# Sourced by gpu_bench.sh: the rows, and how each is measured. A measurement sets `result` (measured, unmeasured, failed)
# and its reason; what its program printed is in $out/said. Their titles and goals are in report.py.

programs() {  # all that decides what is measured
  if [ -n "$bundle" ]; then echo "$root/MANIFEST"  # which has the sums of all
  else printf '%s\n' "$sherd" "$build/tools/bench/train_bench" "$build/tools/bench/gpu_ops_bench"; fi
  printf '%s\n' "$here/tools/gpu_bench/rows.sh" "$here/tools/bench/pytorch_gpu_bench.py"
}

program_of() {
  if [ -n "$bundle" ]; then echo "$root/bin/$1"; else echo "$build/tools/bench/$1"; fi
}

plan() {  # ROW.SIDE.ROUND COMMAND...
  local IFS=$'\t'
  [[ $1 =~ $wanted ]] || return 0
  order+=("$1")
  action[$1]="${*:2}"
}

# What programs print for us: compilers of PyTorch's write lines of JSON, too.
result_lines() { grep -E '^\{"(bench|unmeasured)":' "$1"; }

# What a program of ours ended with.
judge() {  # CODE LOG
  local last
  last=$(grep -m1 -i 'error' "$2" || tail -n 1 "$2")
  case $1:$last in
    0:*) if result_lines "$out/said" >/dev/null; then result=measured; else result=failed reason="it printed no result"; fi ;;
    4:*) result=unmeasured reason="does not fit: ${last#*error: }" ;;
    2:*'there is no --'*) result=unmeasured reason="this program cannot: ${last#*error: }" ;;
    124:*) result=unmeasured reason="did not end within $longest s" ;;
    *) result=failed reason="exit $1; $last" ;;
  esac
}

ours() {  # ROUND PROGRAM FLAG...
  local log=$out/logs/$name.log code
  run "$log" "$(program_of "$2")" "${@:3}"
  code=$?
  cp "$log" "$out/said"
  judge $code "$log"
}

# What fitted in the first round is begun with.
theirs() {  # ROUND MODE ARGUMENT...
  local log=$out/logs/$name.log code line first=$out/rounds/${name%.*}.1
  local -a settings=(LD_LIBRARY_PATH="$given_libraries" TORCHINDUCTOR_CACHE_DIR="$out/inductor") known=()
  if [ "$1" != 1 ] && line=$(result_lines "$first" 2>/dev/null); then
    known=(--batch "$(number_in batch "$line")" --accumulation "$(number_in accumulation "$line")")
    case $line in *expandable_segments*) settings+=(PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True) ;; esac
    case $line in *no-cudagraphs*) known+=(--no-graphs) ;; esac
  fi
  run "$log" env "${settings[@]}" "$python" tools/bench/pytorch_gpu_bench.py --mode "$2" "${@:3}" "${known[@]}"
  code=$?
  cp "$log" "$out/said"
  line=$(result_lines "$log" | tail -n 1)
  case $code:$line in
    124:*) result=unmeasured reason="PyTorch did not end within $longest s" ;;
    0:*'"unmeasured": '*) result=unmeasured reason=$(sed -n 's/.*"unmeasured": "\(.*\)"}$/\1/p' <<<"$line") ;;
    0:'{'*) result=measured ;;
    *) result=unmeasured reason="PyTorch: exit $code; $(tail -n 1 "$log")" ;;
  esac
}
number_in() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" <<<"$2"; }

# compare ROUND ROW SHAPE BATCH SEQ ACCUMULATION WARMUP TIMED PASSES_ONLY FLAG...: ours with FLAGs, then PyTorch's modes.
compare() {
  local n=$1 row=$2 shape=tools/bench/shapes/$3.json batch=$4 seq=$5 accumulation=$6 mode=whole side
  local -a times=(--warmup "$7" --rounds "$8") passes=()
  if [ "$9" = yes ]; then mode=forward-backward passes=(--passes-only); fi
  plan "$row.ours.$n" ours "$n" train_bench --model "$shape" "${common[@]}" --batch-size-per-device "$batch" \
    --max-seq-length "$seq" --gradient-accumulation-steps "$accumulation" --mode "$mode" "${times[@]}" "${@:10}"
  for side in $modes; do
    plan "$row.$side.$n" theirs "$n" "$side" --model "$shape" --batch "$batch" --seq "$seq" --accumulation "$accumulation" \
      "${times[@]}" "${passes[@]}"
  done
}

# In which form the optimizer's state of a 7B is kept: what the device has memory for.
choose_states() {
  local memory=${device#*, *, }
  memory=${memory%% *}
  states=(--master-weights split --moments-dtype 8bit --gradients-dtype bf16)
  if [ "${memory:-0}" -ge 130000 ] 2>/dev/null; then states=(--gradients-dtype bf16); fi
  states_text=${states[*]}
  if [ -z "$device" ]; then states_text="H200: fp32 masters and moments, bf16 gradients; H100: ${states[*]}"; fi
}

# One round of everything, then the next: what is left out when time is up is a repetition.
make_plan() {
  local n
  local -a seven
  common=(--device cuda --dtype bf16 --attention auto)
  choose_states
  seven=(--activation-checkpointing selective)
  for ((n = 1; n <= rounds; n++)); do
    plan "kernels.ours.$n" ours "$n" gpu_ops_bench --what ops
    plan "attention.ours.$n" ours "$n" gpu_ops_bench --what attention
    compare "$n" 7b_passes codellama_7b 4 2048 1 2 5 yes "${seven[@]}" "${states[@]}"
    compare "$n" 7b_step codellama_7b 4 2048 2 2 5 no "${seven[@]}" "${states[@]}"
    plan "7b_fp8.ours.$n" ours "$n" train_bench --model tools/bench/shapes/codellama_7b.json "${common[@]}" \
      --batch-size-per-device 4 --max-seq-length 2048 --gradient-accumulation-steps 1 --mode forward-backward --warmup 2 \
      --rounds 5 "${seven[@]}" "${states[@]}" --fp8
    compare "$n" 7b_llmq codellama_7b 4 1024 16 1 3 no "${seven[@]}" --master-weights split --moments-dtype bf16 \
      --gradients-dtype bf16
    compare "$n" tinyllama tinyllama_1b 8 2048 1 3 7 no --activation-checkpointing none
    compare "$n" smollm smollm_135m 16 2048 1 3 9 no --activation-checkpointing none
    [ "$n" != 1 ] || plan "7b_idle.ours.$n" ours "$n" train_bench --model tools/bench/shapes/codellama_7b.json \
      "${common[@]}" --batch-size-per-device 4 --max-seq-length 2048 --gradient-accumulation-steps 2 --warmup 2 --rounds 1 \
      "${seven[@]}" "${states[@]}" --profile 3
  done
}
