#!/bin/bash
# finetune_test.sh SHERD: submits jobs/chess_finetune.sh to a private cluster of two nodes with two tasks each, from
# JSONL to an exported model, sharded in each node and replicated across them; then looks at what came out.
# Exit 77 where this machine cannot have such a cluster (the reason is printed; ctest names the test as skipped).
set -u
sherd=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
CLUSTER_DIR=$(mktemp -d /tmp/sherd-slurm.XXXXXX)
export CLUSTER_DIR
run=$CLUSTER_DIR/run-of-test
seconds_allowed=240

cluster() { "$here/cluster.sh" "$@"; }

show_and_fail() {
  echo "FAILED: $*"
  scontrol_job
  tail -n 60 "$run"/job.out 2>/dev/null
  tail -n 20 "$CLUSTER_DIR"/log/{slurmctld,node}*.log
  exit 1
}

scontrol_job() { cluster exec timeout 10 scontrol show job "$job"; }
job_state() { scontrol_job | sed -n 's/^ *JobState=\([A-Z_]*\).*/\1/p'; }
wait_for_job() {
  until [[ $(job_state) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY)$ ]]; do
    [ $SECONDS -lt $seconds_allowed ] || show_and_fail "the job is still $(job_state) after $SECONDS s"
    sleep 0.5
  done
  [ "$(job_state)" = COMPLETED ] || show_and_fail "the job ended as $(job_state)"
}
clean_up() { cluster stop; rm -rf "$CLUSTER_DIR"; }

reason=$(cluster check 2>&1) || { echo "SKIPPED slurm_finetune: $reason"; rm -rf "$CLUSTER_DIR"; exit 77; }
trap clean_up EXIT
trap 'exit 1' INT TERM
cluster start -n 2 -t 2 || exit 1

# Submitted from another folder than the repository, as a user's job may be.
mkdir -p "$run"
cd "$run" || exit 1
head -n 300 "$root/inputs/chess_sample.jsonl" >games.jsonl
export DATA=games.jsonl MODEL=$here/tiny OUTPUT=out SHERD=$sherd TOKENIZER_PIECES=300
export TOTAL_BATCH_SIZE=8 BATCH_SIZE_PER_DEVICE=1
job=$(cluster exec sbatch --parsable -N 2 --ntasks-per-node=2 --output=job.out --time=5 "$root/jobs/chess_finetune.sh" \
  --sharding hybrid --max_seq_length 128 --max_training_steps 30 --learning_rate 3e-3 --threads 1) ||
  { echo "FAILED: sbatch"; exit 1; }

wait_for_job
grep -v '^chess_finetune.sh' job.out | grep -Eq '4 ranks.*2 nodes' ||
  show_and_fail "sherd's start line does not say 4 ranks on 2 nodes"
python3 "$here/check_run.py" out 30 || show_and_fail "see above"
echo "job $job completed in $SECONDS s; sherd's start line:"
grep -v '^chess_finetune.sh' job.out | grep -E -m1 '4 ranks.*2 nodes'

# jobs/prepare.sh on other numbers of ranks writes the same corpus, byte by byte.
job=$(TOKENIZER=out/tokenizer.model OUTPUT=prepared/corpus.h5 cluster exec sbatch --parsable -N 1 --ntasks-per-node=2 \
  --output=job.out --time=5 "$root/jobs/prepare.sh") || { echo "FAILED: sbatch jobs/prepare.sh"; exit 1; }
wait_for_job
cmp out/corpus.h5 prepared/corpus.h5 || show_and_fail "jobs/prepare.sh wrote another corpus than the training job"
echo "job $job prepared the same corpus"
