#!/bin/bash
# Fine-tunes a Llama on chess games: text -> corpus.h5 -> training -> a Hugging Face directory.
#
#   sbatch jobs/chess_finetune.sh                                        one node, four CPU ranks
#   sbatch --gres=gpu:4 jobs/chess_finetune.sh                           one node, a rank per GPU
#   sbatch -N 2 --ntasks-per-node=2 jobs/chess_finetune.sh --sharding hybrid
#   TOTAL_BATCH_SIZE=128 sbatch jobs/chess_finetune.sh --no_fsdp --gradient_checkpointing --max_training_steps 100
#
# Every argument goes to `sherd train`. From the environment:
#   TOTAL_BATCH_SIZE       sequences per step over all ranks (64); what the ranks do not hold at once is accumulated
#   BATCH_SIZE_PER_DEVICE  sequences per rank and micro-batch (1)
#   DATA       games: .jsonl with a field `text`, .pgn, .pgn.zst or .parquet, or a folder of such files; or a corpus.h5 that
#              is prepared already (inputs/chess_sample.jsonl)
#   MODEL      a Hugging Face directory; without *.safetensors in it, training starts from scratch (inputs/chess_tiny)
#   TOKENIZER  tokenizer.model (the model's own; else one of TOKENIZER_PIECES, 160, is trained on the games)
#   OUTPUT     checkpoints, metrics.jsonl, corpus.h5, and the result in hf/ (out/chess-JOBID)
#   CONFIG     settings for everything else (inputs/chess_finetune.toml; for the default model, inputs/chess_tiny.toml)
#   SHERD      the program (build/src/app/sherd)
# A second job with the same OUTPUT goes on from its newest checkpoint.
#
#SBATCH --job-name=chess
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.out
set -eu

die() { echo "chess_finetune.sh: $*" >&2; exit 2; }

# Slurm runs a copy of this script from its spool, so it says where the original lies; else the submission folder is it.
# Every job has this for itself: it is what finds the rest.
find_root() {
  local script dir
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
  for dir in "${SHERD_ROOT:-}" "$(dirname "$script")/.." "${SLURM_SUBMIT_DIR:-.}"; do
    if [ -n "$dir" ] && [ -f "$dir/jobs/chess_finetune.sh" ]; then (cd "$dir" && pwd); return; fi
  done
  die "cannot find the repository; set SHERD_ROOT to its folder"
}

# Sequences per step stay constant whatever the number of ranks, so they must divide.
check_batch() {
  local at_once=$((batch_size * ranks))
  [ $((total_batch_size % at_once)) -eq 0 ] && return
  local below=$((total_batch_size / at_once * at_once))
  local nearest="$((below + at_once))"
  [ $below -gt 0 ] && nearest="$below or $nearest"
  die "TOTAL_BATCH_SIZE=$total_batch_size is not a multiple of BATCH_SIZE_PER_DEVICE x ranks = $batch_size x $ranks;" \
    "the nearest that are: $nearest"
}

# made_from CORPUS FILE...: that corpus, from exactly these files, none of them newer.
made_from() {
  local corpus=$1 file
  shift
  [ "$(cat "$corpus.inputs" 2>/dev/null)" = "$(printf '%s\n' "$@")" ] || return 1
  for file in "$@"; do [ "$corpus" -nt "$file" ] || return 1; done
}

positive() { case $2 in "" | 0* | *[!0-9]*) die "$1=$2 is not a positive whole number" ;; esac; }

# A rank per GPU where the allocation has GPUs, else as many as were asked for. Sets per_node, ranks and cpus.
find_ranks() {
  if [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then
    per_node=$SLURM_GPUS_ON_NODE
    ranks=$((nodes * per_node))
  else
    ranks=${SLURM_NTASKS:-$nodes}
    per_node=$(((ranks + nodes - 1) / nodes))
  fi
  cpus=${SLURM_CPUS_PER_TASK:-1}
  if [ $((cpus * per_node)) -gt "$SLURM_CPUS_ON_NODE" ]; then cpus=$((SLURM_CPUS_ON_NODE / per_node)); fi
  [ "$cpus" -gt 0 ] || die "$SLURM_CPUS_ON_NODE CPUs on a node for $per_node ranks; add --ntasks-per-node=$per_node"
}

# step ARGUMENTS...: one srun over the whole allocation. A rank that dies takes along the others, which would wait.
step() { srun --mpi=pmix --kill-on-bad-exit=1 --nodes="$nodes" --ntasks="$ranks" --ntasks-per-node="$per_node" "$@"; }
alone() { srun --mpi=pmix --nodes=1 --ntasks=1 "$@"; }

[ -n "${SLURM_JOB_ID:-}" ] || die "start this script with sbatch"
root=$(find_root)
. "$root/jobs/games.sh"
data=$(absolute "${DATA:-$root/inputs/chess_sample.jsonl}")
model=$(absolute "${MODEL:-$root/inputs/chess_tiny}")
output=$(absolute "${OUTPUT:-out/chess-$SLURM_JOB_ID}")
if [ -n "${MODEL:-}" ]; then config=chess_finetune.toml; else config=chess_tiny.toml; fi
config=$(absolute "${CONFIG:-$root/inputs/$config}")
sherd=$(absolute "${SHERD:-$root/build/src/app/sherd}")
total_batch_size=${TOTAL_BATCH_SIZE:-64}
batch_size=${BATCH_SIZE_PER_DEVICE:-1}
positive TOTAL_BATCH_SIZE "$total_batch_size"
positive BATCH_SIZE_PER_DEVICE "$batch_size"
[ -x "$sherd" ] || die "no program at $sherd; build it with 'make build' on a node like these, or set SHERD"
[ -e "$data" ] || die "no games at $data; set DATA to a file or a folder of games, or to a corpus.h5"
[ -f "$config" ] || die "no settings at $config; set CONFIG to a .toml"
[ -f "$model/config.json" ] || die "no config.json in $model; set MODEL to a Hugging Face directory"

nodes=$SLURM_JOB_NUM_NODES
find_ranks
check_batch
if [ -n "${SLURM_GPUS_ON_NODE:-}" ] && [[ " $*" != *" --device"[\ =]cpu* ]] &&
  ! grep -q '^ *device *= *"cpu"' "$config"; then
  case $("$sherd" --version) in
    *"cuda: not in this build"*)
      die "the allocation has GPUs, and $sherd is built without CUDA; run 'make build' where nvcc is (module load cuda)," \
        "or add --device cpu" ;;
  esac
fi
# Some Lustre mounts have no locks, and HDF5 then refuses to open: our files are written once and only read afterwards.
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-FALSE}
export SRUN_CPUS_PER_TASK=$cpus  # since 22.05 srun no longer takes it from sbatch
# Open MPI cannot see under srun that ranks share cores; without this each spins away its neighbour's time slice.
if [ "$(nproc)" -lt "$per_node" ]; then export OMPI_MCA_mpi_yield_when_idle=1; fi

echo "chess_finetune.sh: $ranks ranks on $nodes nodes ($SLURM_JOB_NODELIST), $total_batch_size sequences a step:" \
  "$batch_size per rank, accumulated $((total_batch_size / batch_size / ranks)) times; output in $output"
mkdir -p "$output"

tokenizer=${TOKENIZER:-}
train_tokenizer=()
if [ -n "$tokenizer" ]; then tokenizer=$(absolute "$tokenizer")
elif [ -f "$model/tokenizer.model" ]; then tokenizer=$model/tokenizer.model
elif [ -f "$output/tokenizer.model" ]; then tokenizer=$output/tokenizer.model  # of the run that is gone on with
else
  tokenizer=$output/tokenizer.model
  train_tokenizer=(--train-tokenizer "${TOKENIZER_PIECES:-160}")
fi

case $data in
  *.h5) corpus=$data ;;
  *)
    corpus=$output/corpus.h5
    verify_fetched "$data"  # of the model, sherd train does it
    find_games "$data" "$output/games"
    if ! made_from "$corpus" "${games[@]}"; then
      step "$sherd" prepare --input "${games[@]}" --output "$corpus" --tokenizer "$tokenizer" "${train_tokenizer[@]}"
      printf '%s\n' "${games[@]}" >"$corpus.inputs"
    fi
    ;;
esac

with_tokenizer=()
if [ -f "$tokenizer" ]; then with_tokenizer=(--tokenizer "$tokenizer"); fi

weights=()
if ! compgen -G "$model/*.safetensors" >/dev/null; then weights=(--from-scratch); fi
step "$sherd" train --config "$config" --model "$model" "${weights[@]}" --data "$corpus" --output "$output" \
  "${with_tokenizer[@]}" --total-batch-size "$total_batch_size" --batch-size-per-device "$batch_size" "$@"
if [ -e "$output/hf" ]; then  # of an earlier job with this OUTPUT; sherd export overwrites nothing
  rm -rf "$output/hf.old"
  mv "$output/hf" "$output/hf.old"
fi
alone "$sherd" export --checkpoint "$output" --output "$output/hf" "${with_tokenizer[@]}"
echo "chess_finetune.sh: the model is in $output/hf, the metrics are in $output/metrics.jsonl"
