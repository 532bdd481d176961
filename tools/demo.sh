#!/bin/bash
# demo.sh BUILD: the main job in small. Prepares a corpus of chess games, trains a Llama of 1.7 million parameters on
# four MPI ranks that each hold a quarter of it, and lets it play on. Everything goes to out/demo, which is made anew.
set -eu
cd "$(dirname "$0")/.."
sherd=$1/src/app/sherd
out=out/demo
games=inputs/chess_sample.jsonl
opening="e2e4 e7e5"

say() { printf '\n== %s\n' "$*"; }

# The mean loss of each tenth of the run, as a bar.
draw_losses() {
  awk 'match($0, /"loss": *[0-9.eE+-]+/) && /"step"/ {
         text = substr($0, RSTART, RLENGTH); sub(/.*: */, "", text); loss[n++] = text + 0
       }
       END {
         rows = n < 10 ? n : 10
         for (i = 0; i < rows; i++) {
           from = int(i * n / rows); to = int((i + 1) * n / rows); sum = 0
           for (k = from; k < to; k++) sum += loss[k]
           mean = sum / (to - from); bar = ""
           for (k = 0; k < mean * 6; k++) bar = bar "#"
           printf "  steps %4d - %-4d loss %6.3f  %s\n", from + 1, to, mean, bar
         }
       }' "$1"
}

rm -rf "$out"
mkdir -p "$out"
say "Preparing: $games -> tokens"
"$sherd" prepare --input "$games" --output "$out/corpus.h5" --tokenizer "$out/tokenizer.model" \
  --train-tokenizer 160

say "Training on 4 MPI ranks of one thread each, fully sharded (at most 2 minutes)"
tools/mpirun.sh 4 "$sherd" train --config inputs/chess_tiny.toml --model inputs/chess_tiny --from-scratch \
  --data "$out/corpus.h5" --output "$out" --threads 1 --max-minutes 2

say "The loss"
draw_losses "$out/metrics.jsonl"

say "A game that begins $opening, continued by the model"
"$sherd" generate --model "$out" --prompt "$opening"

checkpoint=$(find "$out" -maxdepth 1 -name 'step-*' | sort | tail -n 1)
say "Done"
cat <<END
  checkpoint    $checkpoint  (h5ls $checkpoint/model.h5 lists its tensors)
  metrics       $out/metrics.jsonl
Next:
  $sherd generate --model $out --prompt "d2d4 g8f6"
  $sherd export --checkpoint $out --output $out/hf        a Hugging Face directory
  make build && sbatch jobs/chess_finetune.sh                      the same on a cluster, on GPUs where there are any
  make test                                                        every test
END
