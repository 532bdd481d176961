#!/bin/bash
# Prepares a corpus on compute nodes, which need no network: checks what was fetched, then text -> corpus.h5.
#
#   MODEL=$SCRATCH/CodeLlama-7b-hf DATA=$SCRATCH/games.jsonl OUTPUT=$SCRATCH/corpus.h5 sbatch jobs/prepare.sh
#
# Every argument goes to `sherd prepare`. From the environment:
#   DATA       games: .jsonl with a field `text`, .pgn, .pgn.zst or .parquet, or a folder of such files (required)
#   OUTPUT     corpus.h5 (required)
#   MODEL      a fetched Hugging Face directory, whose tokenizer.model is used; its sherd.lock.json is checked if it is there
#   TOKENIZER  another tokenizer.model; without MODEL and TOKENIZER one of TOKENIZER_PIECES (160) is trained beside OUTPUT
#   SHERD, SHERD_FETCH, SHERD_GAMES   the programs (build/src/app/sherd; the others in build-fetch/tools or build/tools)
# Then: MODEL=... DATA=$OUTPUT sbatch jobs/chess_finetune.sh
#
#SBATCH --job-name=prepare
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=1
#SBATCH --time=02:00:00
#SBATCH --output=%x-%j.out
set -eu

die() { echo "prepare.sh: $*" >&2; exit 2; }
# Slurm runs a copy of this script from its spool, so it says where the original lies; else the submission folder is it.
# Every job has this for itself: it is what finds the rest.
find_root() {
  local script dir
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
  for dir in "${SHERD_ROOT:-}" "$(dirname "$script")/.." "${SLURM_SUBMIT_DIR:-.}"; do
    if [ -n "$dir" ] && [ -f "$dir/jobs/prepare.sh" ]; then (cd "$dir" && pwd); return; fi
  done
  die "cannot find the repository; set SHERD_ROOT to its folder"
}

[ -n "${SLURM_JOB_ID:-}" ] || die "start this script with sbatch"
root=$(find_root)
. "$root/jobs/games.sh"
[ -n "${DATA:-}" ] || die "set DATA to games: a file, or a folder of files"
[ -n "${OUTPUT:-}" ] || die "set OUTPUT to the corpus.h5 to write"
data=$(absolute "$DATA")
output=$(absolute "$OUTPUT")
sherd=$(absolute "${SHERD:-$root/build/src/app/sherd}")
[ -x "$sherd" ] || die "no program at $sherd; build it with 'make build' on a node like these, or set SHERD"
[ -e "$data" ] || die "no games at $data"

tokenizer=${TOKENIZER:-}
train_tokenizer=()
if [ -n "$tokenizer" ]; then tokenizer=$(absolute "$tokenizer")
elif [ -n "${MODEL:-}" ]; then tokenizer=$(absolute "$MODEL")/tokenizer.model
else
  tokenizer=$(dirname "$output")/tokenizer.model
  [ -f "$tokenizer" ] || train_tokenizer=(--train-tokenizer "${TOKENIZER_PIECES:-160}")
fi

verify_fetched "${MODEL:+$(absolute "${MODEL:-}")}" "$data"

# Some Lustre mounts have no locks, and HDF5 then refuses to open: our files are written once and only read afterwards.
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-FALSE}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # since 22.05 srun no longer takes it from sbatch
mkdir -p "$(dirname "$output")"
find_games "$data" "$output.games"
srun --mpi=pmix --kill-on-bad-exit=1 "$sherd" prepare --input "${games[@]}" --output "$output" --tokenizer "$tokenizer" \
  "${train_tokenizer[@]}" "$@"
echo "prepare.sh: the corpus is $output; train on it with DATA=$output sbatch jobs/chess_finetune.sh"
