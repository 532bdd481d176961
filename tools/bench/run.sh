#!/bin/bash
# run.sh BUILD [PART ...]: the benchmarks behind docs/performance.md, as one table each: train, overlap, prepare, load,
# collectives, fetch, games (all by default). Training is run beside PyTorch in turn where PYTHON (python3) has torch and transformers;
# overlap needs root and iproute2. Training, overlap and fetch are repeated (REPEATS, 5) and medians printed. The machine should be
# otherwise idle. SEQ_BF16 (128): the length of bf16 sequences, short because PyTorch takes minutes for a longer step on a
# CPU without bf16 instructions. RATES (250mbit 500mbit 1gbit): of the links of overlap. ACCUMULATION (4): micro-batches
# of its steps; PREFETCH (3): the units that travel ahead.
set -eu
cd "$(dirname "$0")/../.."
build=$1
shift
parts=${*:-train overlap prepare load collectives fetch games}
bench=$build/tools/bench
python=${PYTHON:-python3}
repeats=${REPEATS:-5}
threads=${THREADS:-$(nproc)}
scratch=$(mktemp -d)
# Ends what it started, also when it is cut off: mpirun and its hosts would run on.
cleanup() {
  local children
  children=$(jobs -p; pgrep -P $$ || true)
  # shellcheck disable=SC2086  # several
  [ -z "$children" ] || kill $children 2>/dev/null || true
  [ ! -e "$scratch/hosts" ] || HOSTS_DIR=$scratch/hosts tests/slurm/hosts.sh stop || true
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

field() { sed -n "s/.*\"$1\": *\([0-9.eE+-]*\).*/\1/p" | head -n 1; }
median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
column() { field "$1" <"$2"; }

has_torch() { "$python" -c 'import torch, transformers' 2>/dev/null; }

# train SHAPE BATCH SEQ DTYPE: ours and PyTorch's in turn, ratio pair by pair.
train() {
  local shape=$1 batch=$2 seq=$3 dtype=$4 i ours theirs
  rm -f "$scratch"/ours "$scratch"/theirs "$scratch"/ratio "$scratch"/share "$scratch"/other
  for ((i = 0; i < repeats; i++)); do
    "$bench/train_bench" --model "tools/bench/shapes/$shape.json" --batch-size-per-device "$batch" \
      --max-seq-length "$seq" --threads "$threads" --dtype "$dtype" --activation-checkpointing none --device cpu \
      --rounds 3 --warmup 1 >"$scratch/line"
    ours=$(column tokens_per_second "$scratch/line")
    echo "$ours" >>"$scratch/ours"
    column share_of_gemm_rate "$scratch/line" >>"$scratch/share"
    column other_share "$scratch/line" >>"$scratch/other"
    if has_torch; then
      "$python" tools/bench/pytorch_bench.py --config "tools/bench/shapes/$shape.json" --batch "$batch" --seq "$seq" \
        --threads "$threads" --dtype "$dtype" --steps 2 --warmup 1 2>/dev/null >"$scratch/line"
      theirs=$(column tokens_per_second "$scratch/line")
      echo "$theirs" >>"$scratch/theirs"
      awk -v a="$ours" -v b="$theirs" 'BEGIN {print a / b}' >>"$scratch/ratio"
    fi
  done
  printf '| %s, batch %s x %s, %s, %s threads | %.0f | %.0f%% | %.1f%% |' "$shape" "$batch" "$seq" "$dtype" "$threads" \
    "$(median <"$scratch/ours")" "$(median <"$scratch/share" | awk '{print 100 * $1}')" \
    "$(median <"$scratch/other" | awk '{print 100 * $1}')"
  if [ -s "$scratch/theirs" ]; then
    printf ' %.0f | %.2f (%.2f to %.2f) |\n' "$(median <"$scratch/theirs")" "$(median <"$scratch/ratio")" \
      "$(sort -g "$scratch/ratio" | head -n 1)" "$(sort -g "$scratch/ratio" | tail -n 1)"
  else
    printf ' not installed | |\n'
  fi
}

train_table() {
  echo "| shape | Sherd tokens/s | of the GEMM rate | outside GEMM and attention | PyTorch tokens/s | ratio (range) |"
  echo "|---|---|---|---|---|---|"
  train llama_30m 4 512 fp32
  local repeats=${REPEATS_SLOW:-3}
  train smollm_135m 2 512 fp32
  train llama_30m 1 "${SEQ_BF16:-128}" bf16
  train smollm_135m 1 "${SEQ_BF16:-128}" bf16
}

# overlap RATE: two hosts of one core each, which computation and communication share. exposed = (step - step without
# communication) / communication alone, median over rounds of the three in turn; waited = the part of communication
# alone that the compute stream was idle; cpu = CPU seconds of the process during communication alone.
overlap() {
  # shellcheck disable=SC2016  # the inner shell expands
  tests/slurm/hosts.sh mpirun -n 2 --bind-to none bash -c 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$@"' bash \
    "$PWD/$bench/train_bench" --model "$PWD/tools/bench/shapes/llama_30m.json" --batch-size-per-device 4 \
    --max-seq-length 512 --threads 1 --dtype fp32 --activation-checkpointing none --device cpu \
    --gradient-accumulation-steps "${ACCUMULATION:-4}" --prefetch "${PREFETCH:-3}" --mode overlap --rounds "$repeats" \
    --warmup 1 >"$scratch/line"
  awk -v rate="$1" -v w="$(column whole "$scratch/line")" -v c="$(column compute "$scratch/line")" \
    -v m="$(column communication "$scratch/line")" -v b="$(column communication_cpu "$scratch/line")" \
    -v i="$(column waited "$scratch/line")" -v e="$(column exposed "$scratch/line")" \
    -v least="$(column least "$scratch/line")" -v most="$(column most "$scratch/line")" 'BEGIN {
    printf "| %s | %.2f s | %.2f s | %.2f s | %.2f s | %.0f%% | %.0f%% (%.0f%% to %.0f%%) |\n", rate, w, c, m, b,
      100 * i / m, 100 * e, 100 * least, 100 * most}'
}

overlap_table() {
  local rate
  export HOSTS_DIR=$scratch/hosts OMP_NUM_THREADS=1
  tests/slurm/hosts.sh start -n 2 -s 1
  echo "| links | step | without communication | communication alone | its CPU time | waited | exposed (range) |"
  echo "|---|---|---|---|---|---|---|"
  for rate in ${RATES:-250mbit 500mbit 1gbit}; do
    tests/slurm/hosts.sh rate "$rate"
    overlap "$rate"
  done
  tests/slurm/hosts.sh stop
}

# PGN to text on one core: as Lichess writes it, with clocks, and without comments.
games() {
  local form i
  for form in clocks plain; do
    "$build/tests/chess/games_to_pgn" inputs/chess_sample.jsonl 400 ${form#clocks} >"$scratch/games.pgn"
    for ((i = 0; i < 3; i++)); do
      taskset -c 0 "$build/tools/chess/sherd-games" "$scratch/games.pgn" 2>&1 >/dev/null | sed -n "1s/^/$form: /p"
    done
  done
}

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
for part in $parts; do
  printf '\n## %s\n' "$part"
  case $part in
    train) train_table ;;
    overlap) overlap_table ;;
    prepare) "$bench/prepare_bench" inputs/chess_sample.jsonl 100 "$threads" || echo "(below its goal)" ;;
    load) "$bench/load_bench" --dir "$scratch" --mib 2048 --ranks 4 ;;
    collectives) tools/mpirun.sh 2 "$bench/collectives_bench" ;;
    fetch) "$python" tools/bench/fetch_bench.py "$build/tools/fetch/sherd-fetch" ;;
    games) games ;;
    *) echo "run.sh: no part '$part'" >&2; exit 2 ;;
  esac
done
