#!/bin/bash
# job_test.sh: what jobs/chess_finetune.sh makes of its environment. Slurm's commands and sherd are stand-ins that print
# their arguments; tests/slurm runs the script in a real cluster.
# shellcheck source=tests/tools/check.sh
. "$(dirname "$0")/check.sh"

mkdir "$work/bin" "$work/spool" "$work/model" "$work/weights"
stand_in bin/srun 'echo "srun $*"'
stand_in bin/scontrol "echo '   Command=$root/jobs/chess_finetune.sh --no_fsdp'"
stand_in bin/sherd ''
cp "$root/jobs/chess_finetune.sh" "$work/spool/slurm_script"  # as slurmd does
echo '{"text": "e2e4 e7e5 1-0"}' >"$work/games.jsonl"
touch "$work/model/config.json" "$work/weights/config.json" "$work/weights/model.safetensors"
touch "$work/weights/tokenizer.model"

# job VARIABLE=VALUE... -- ARGUMENTS...: the script as a batch step of two nodes with two tasks each.
job() {
  local settings=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do settings+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  (cd "$work" && env -i PATH="$work/bin:$PATH" SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=2 SLURM_NTASKS=4 \
    SLURM_CPUS_ON_NODE=8 SLURM_JOB_NODELIST='n[0-1]' SLURM_SUBMIT_DIR="$work" SHERD=bin/sherd DATA=games.jsonl \
    MODEL=model "${settings[@]}" "$BASH" spool/slurm_script "$@" >said 2>&1)
  code=$?
}

job
expect "defaults: exit 0" is $code 0
expect "every rank of both nodes, by PMIx, ending together" says \
  'srun --mpi=pmix --kill-on-bad-exit=1 --nodes=2 --ntasks=4 --ntasks-per-node=2 .*/bin/sherd train '
expect "64 sequences a step, one a device, as in the reference demo" says \
  'sherd train .* --total-batch-size 64 --batch-size-per-device 1$'
expect "says how often it accumulates" says 'accumulated 16 times'
expect "JSONL is prepared first, with a tokenizer of its own" says \
  "sherd prepare --input $work/games.jsonl --output $work/out/chess-7/corpus.h5"
expect "the tokenizer lies beside the corpus" says \
  "sherd prepare .* --tokenizer $work/out/chess-7/tokenizer.model --train-tokenizer 160\$"
expect "a model without weights starts from scratch" says "--model $work/model --from-scratch --data "
expect "exports at the end, on one rank" says \
  "--ntasks=1 .*/sherd export --checkpoint $work/out/chess-7 --output $work/out/chess-7/hf\$"
expect "finds the configuration beside the original script" says "--config $root/inputs/chess_finetune.toml"

mkdir "$work/out/chess-7/hf"
job
expect "a second job puts the first one's export aside" test -d "$work/out/chess-7/hf.old" -a ! -e "$work/out/chess-7/hf"

job MODEL=
expect "the default model has the settings it was made for" says \
  "--config $root/inputs/chess_tiny.toml --model $root/inputs/chess_tiny --from-scratch"

job MODEL=weights OUTPUT=run -- --no_fsdp --gradient_checkpointing --max_training_steps 10
expect "weights are loaded" silent_about 'from-scratch'
expect "the model's tokenizer is used" says "prepare .* --tokenizer $work/weights/tokenizer.model\$"
expect "and goes into the export" says "export .* --tokenizer $work/weights/tokenizer.model\$"
expect "OUTPUT is relative to where sbatch was typed" says "--output $work/run "
expect "arguments are passed through" says ' --no_fsdp --gradient_checkpointing --max_training_steps 10$'

mkdir "$work/games"
touch "$work/games/b.pgn" "$work/games/a.jsonl" "$work/games/c.parquet"
# shellcheck disable=SC2016  # the script expands
stand_in bin/sherd-games 'echo "sherd-games $*"; touch "$3"'
out=$work/out/chess-7
job DATA=games SHERD_GAMES="$work/bin/sherd-games"
expect "a folder of games: PGN becomes text" says "^sherd-games $work/games/b.pgn --output $out/games/b.pgn.[0-9]+-0.jsonl\$"
expect "and Parquet" says "^sherd-games $work/games/c.parquet --output $out/games/c.parquet.[0-9]+-0.jsonl\$"
expect "all of it is the corpus, in the order of the names" says \
  "prepare --input $work/games/a.jsonl $out/games/b.pgn.[0-9]+-0.jsonl $out/games/c.parquet.[0-9]+-0.jsonl --output "
job DATA=games SHERD_GAMES="$work/bin/sherd-games"
expect "what was converted is not converted again" silent_about '^sherd-games'
rm "$work/games/a.jsonl"
job DATA=games SHERD_GAMES="$work/bin/sherd-games"
expect "a corpus of other files is prepared again" says 'sherd prepare --input '
mkdir "$work/more"
echo other >"$work/more/b.pgn"
touch -d '1 hour ago' "$work/more/b.pgn"
job DATA=more SHERD_GAMES="$work/bin/sherd-games"
expect "another file of the same name is converted, however old" says "^sherd-games $work/more/b.pgn --output"
stand_in bin/sherd-fetch 'echo "sherd-fetch $*"; exit 3'
touch "$work/more/sherd.lock.json"
job DATA=more SHERD_GAMES="$work/bin/sherd-games" SHERD_FETCH="$work/bin/sherd-fetch"
expect "fetched games are verified" says "^sherd-fetch verify $work/more\$"
expect "and refused where they are not what was fetched" says "$work/more is not what was fetched"
stand_in bin/sherd-games 'echo "sherd-games: no"; exit 3'
job DATA=games/b.pgn OUTPUT=other SHERD_GAMES="$work/bin/sherd-games"
expect "games that cannot be read: exit 2, and nothing is prepared" is $code 2
expect "and says so" says "not all of $work/games/b.pgn could be read"
job DATA=model
expect "a folder without games: says what is expected" says "no games in $work/model; expected files .jsonl"

touch "$work/corpus.h5"
job DATA=corpus.h5
expect "a prepared corpus is not prepared again" silent_about 'sherd prepare'

job SLURM_GPUS_ON_NODE=4
expect "one rank per GPU" says 'srun .* --ntasks=8 --ntasks-per-node=4 .*sherd train '
stand_in bin/sherd-of-a-cpu 'echo "cuda: not in this build"'
job SLURM_GPUS_ON_NODE=4 SHERD=bin/sherd-of-a-cpu
expect "GPUs, and a program without CUDA: exit 2" is $code 2
expect "GPUs, and a program without CUDA: says what to do" says "built without CUDA; run 'make build'"
job SLURM_GPUS_ON_NODE=4 SHERD=bin/sherd-of-a-cpu -- --device cpu
expect "unless its ranks shall compute on CPUs" is $code 0
echo 'device = "cpu"' >"$work/cpu.toml"
job SLURM_GPUS_ON_NODE=4 SHERD=bin/sherd-of-a-cpu CONFIG=cpu.toml
expect "or its settings say so" is $code 0
job SLURM_GPUS_ON_NODE=4 SLURM_CPUS_ON_NODE=2
expect "more GPUs than CPUs: exit 2" is $code 2
expect "more GPUs than CPUs: says what to add" says 'add --ntasks-per-node=4'

job TOTAL_BATCH_SIZE=30
expect "an uneven batch: exit 2" is $code 2
expect "an uneven batch: the nearest values" says 'nearest that are: 28 or 32$'
job TOTAL_BATCH_SIZE=2
expect "a batch below the ranks: the nearest value" says 'nearest that are: 4$'
job TOTAL_BATCH_SIZE=many
expect "no number: exit 2" is $code 2
expect "no number: says what it found" says 'TOTAL_BATCH_SIZE=many is not a positive whole number'
job DATA=nowhere.jsonl
expect "no data: exit 2, and its path" says "no games at $work/nowhere.jsonl"
job CONFIG=nothing.toml
expect "no settings: says which" says "no settings at $work/nothing.toml"
job MODEL=bin
expect "no model: says what is missing" says "no config.json in $work/bin"
job SHERD=nothing
expect "no program: says how to build it" says "make build"
job SLURM_JOB_ID=
expect "outside Slurm: says how to start it" says 'start this script with sbatch'
stand_in bin/srun 'echo "srun $*"; case "$*" in *train*) exit 5 ;; esac'
job
expect "a failed step's exit code is the job's" is $code 5
expect "nothing is exported after a failed step" silent_about 'sherd export'
report
