#!/bin/bash
# loss_curves.sh BUILD: what the settings that save memory do to a loss. Trains inputs/chess_tiny from scratch on the
# games of the demo, once per setting, one rank, bf16, the same seed (and once more with another one: what chance does),
# and prints a table: the mean loss of each fifth of the run, and the held-out loss. STEPS (240), THREADS (all cores),
# MODES (all): names of the table below. Each run stays in out/loss_curves, and one that is there is not made again.
set -eu
cd "$(dirname "$0")/../.."
sherd=$1/src/app/sherd
out=out/loss_curves
steps=${STEPS:-240}
threads=${THREADS:-$(nproc)}

# NAME FLAGS...: a row of the table.
rows() {
  cat <<END
fp32-states --max-grad-norm 0
other-seed --max-grad-norm 0 --seed 43
split-masters --max-grad-norm 0 --master-weights split
bf16-moments --max-grad-norm 0 --moments-dtype bf16
8bit-moments --max-grad-norm 0 --moments-dtype 8bit
8bit-other --max-grad-norm 0 --seed 43 --moments-dtype 8bit
bf16-gradients --max-grad-norm 0 --gradients-dtype bf16
bf16-gradients-8 --max-grad-norm 0 --gradients-dtype bf16 --batch-size-per-device 2
clip-fp32
clip-8bit --moments-dtype 8bit
all-8bit --max-grad-norm 0 --master-weights split --moments-dtype 8bit --gradients-dtype bf16 --optimizer-in-backward
fp8 --fp8
END
}

mkdir -p "$out"
[ -e "$out/corpus.h5" ] || "$sherd" prepare --input inputs/chess_sample.jsonl --output "$out/corpus.h5" \
  --tokenizer "$out/tokenizer.model" --train-tokenizer 160 >"$out/prepare.log" 2>&1

# fifths FILE: the mean of the losses of each fifth of a metrics.jsonl.
fifths() {
  awk 'match($0, /"loss": *[0-9.eE+-]+/) && /"total_steps"/ {
         text = substr($0, RSTART, RLENGTH); sub(/.*: */, "", text); loss[n++] = text + 0
       }
       END {
         for (i = 0; i < 5; i++) {
           from = int(i * n / 5); to = int((i + 1) * n / 5); sum = 0
           for (k = from; k < to; k++) sum += loss[k]
           printf " %.3f |", sum / (to - from)
         }
       }' "$1"
}
held_out() { sed -n 's/.*"eval_loss": *\([0-9.eE+-]*\).*/\1/p' "$1" | tail -n 1; }

printf '| setting | losses of the fifths of %s steps | | | | | held out |\n|---|---|---|---|---|---|---|\n' "$steps"
rows | while read -r name flags; do
  case " ${MODES:-$name} " in *" $name "*) ;; *) continue ;; esac
  run=$out/$name
  if ! grep -qs eval_loss "$run/metrics.jsonl"; then
    rm -rf "$run"
    case $flags in *batch-size*) batch= ;; *) batch='--batch-size-per-device 16' ;; esac
    # shellcheck disable=SC2086  # several flags
    "$sherd" train --config inputs/chess_tiny.toml --model inputs/chess_tiny --from-scratch --data "$out/corpus.h5" \
      --output "$run" --threads "$threads" --dtype bf16 \
      --max-training-steps "$steps" $batch $flags </dev/null >"$out/$name.log" 2>&1 || { tail -n 3 "$out/$name.log" >&2; continue; }
  fi
  printf '| %s |%s %.3f |\n' "$name" "$(fifths "$run/metrics.jsonl")" "$(held_out "$run/metrics.jsonl")"
done
