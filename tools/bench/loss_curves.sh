#!/bin/bash
# loss_curves.sh BUILD: what the settings that save memory do to a loss. Trains inputs/chess_tiny from scratch on the
# games of the demo, once per setting and seed, one rank, bf16, and prints a table for each seed: the mean loss of each
# fifth of the run, and the held-out loss. With several seeds then how far a setting's held-out loss is from that of
# fp32 states with the same seed, mean and standard error: a single pair says little, since a short run from scratch is a
# walk. STEPS (240), THREADS (all cores), SEEDS (42), MODES (all): names of the table below. Each run stays in
# out/loss_curves/STEPS, and one that is there is not made again.
set -eu
cd "$(dirname "$0")/../.."
sherd=$1/src/app/sherd
steps=${STEPS:-240}
out=out/loss_curves/$steps
threads=${THREADS:-$(nproc)}

# NAME REFERENCE FLAGS...: a row of the table, and the row that it is compared with.
rows() {
  cat <<END
fp32-states fp32-states --max-grad-norm 0
split-masters fp32-states --max-grad-norm 0 --master-weights split
bf16-moments fp32-states --max-grad-norm 0 --moments-dtype bf16
8bit-moments fp32-states --max-grad-norm 0 --moments-dtype 8bit
bf16-gradients fp32-states --max-grad-norm 0 --gradients-dtype bf16
bf16-gradients-8 fp32-states --max-grad-norm 0 --gradients-dtype bf16 --batch-size-per-device 2
all-8bit fp32-states --max-grad-norm 0 --master-weights split --moments-dtype 8bit --gradients-dtype bf16 --optimizer-in-backward
clip-fp32 clip-fp32
clip-bf16 clip-fp32 --moments-dtype bf16
clip-8bit clip-fp32 --moments-dtype 8bit
fp8 clip-fp32 --fp8
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

# train NAME SEED FLAGS...: makes the run, or says why it could not.
train() {
  local run=$out/$1-$2 batch='--batch-size-per-device 16'
  grep -qs eval_loss "$run/metrics.jsonl" && return
  rm -rf "$run"
  case $* in *batch-size*) batch= ;; esac
  # shellcheck disable=SC2086  # several words
  "$sherd" train --config inputs/chess_tiny.toml --model inputs/chess_tiny --from-scratch --data "$out/corpus.h5" \
    --output "$run" --threads "$threads" --dtype bf16 --max-training-steps "$steps" $batch --seed "${@:2}" \
    </dev/null >"$run.log" 2>&1 || tail -n 3 "$run.log" >&2
}

chosen() {  # the rows of $MODES
  rows | while read -r name more; do
    case " ${MODES:-$name} " in *" $name "*) echo "$name $more" ;; esac
  done
}

# differences: "NAME REFERENCE" on each line -> a row of the last table for each.
differences() {
  while read -r name reference _; do
    [ "$name" = "$reference" ] && continue
    for seed in ${SEEDS:-42}; do
      echo "$(held_out "$out/$name-$seed/metrics.jsonl") $(held_out "$out/$reference-$seed/metrics.jsonl")"
    done | awk -v name="$name" -v reference="$reference" 'NF == 2 { d = $1 - $2; sum += d; squares += d * d; n++ }
      END {
        if (n < 2) exit
        mean = sum / n; error = sqrt((squares - n * mean * mean) / (n - 1) / n)
        printf "| %s | %s | %+.3f | %.3f | %d |\n", name, reference, mean, error, n
      }'
  done
}

for seed in ${SEEDS:-42}; do
  printf '\n| seed %s | losses of the fifths of %s steps | | | | | held out |\n|---|---|---|---|---|---|---|\n' "$seed" "$steps"
  chosen | while read -r name _ flags; do
    # shellcheck disable=SC2086  # several words
    train "$name" "$seed" $flags
    metrics=$out/$name-$seed/metrics.jsonl
    if grep -qs eval_loss "$metrics"; then
      printf '| %s |%s %.3f |\n' "$name" "$(fifths "$metrics")" "$(held_out "$metrics")"
    else
      printf '| %s | failed | | | | | |\n' "$name"
    fi
  done
done
printf '\n| setting | less the held-out loss of | mean | its standard error | seeds |\n|---|---|---|---|---|\n'
chosen | differences
