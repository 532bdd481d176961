#!/bin/bash
# A private Slurm cluster on one machine: real slurmctld and munged, one real slurmd per emulated node. Needs root, but
# neither systemd nor cgroups nor anything in /etc. Every node has its own UTS, mount and IPC namespace (own hostname,
# own /dev/shm), so Open MPI and Slurm take the nodes for different machines. All daemons listen on 127.0.0.1.
#
#   cluster.sh check            is there what it needs? prints the reason and exits 1 where not
#   cluster.sh start [-n NODES] [-t TASKS_PER_NODE] [-g GPUS_PER_NODE] [-m MEMORY_MB]
#   cluster.sh exec COMMAND...  as on the login node: sbatch, srun, squeue, ...
#   cluster.sh on NODE COMMAND...
#   cluster.sh fail NODE        kills the node's slurmd and all its job processes, as a power cut would
#   cluster.sh revive NODE      starts its slurmd again
#   cluster.sh status | stop
#
# CLUSTER_DIR (required, at most 60 characters, for the sake of Unix sockets) holds all state; stop ends every process
# of this cluster, and no other, and leaves only CLUSTER_DIR/log. The GPUs are character devices that Slurm hands out.
set -u
state=${CLUSTER_DIR:?set CLUSTER_DIR to a folder for the cluster\'s state}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$state/slurm.conf

die() { echo "cluster.sh: $*" >&2; exit 1; }

pid_of() { cat "$state/run/$1.pid" 2>/dev/null; }

# A zombie counts as dead: nobody may be there to reap it.
alive() {
  local stat
  [ -n "${1:-}" ] && stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  case $stat in "" | *") Z "*) return 1 ;; esac
}

all_gone() { local pid; for pid in "$@"; do alive "$pid" && return 1; done; return 0; }

wait_for() {  # SECONDS CONDITION...
  local end=$((SECONDS + $1 + 1))
  shift
  until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.05; done
}

# The processes in a node's UTS namespace: its slurmd, its steps, and what the steps started.
pids_in() {
  local namespace dir
  namespace=$(cat "$state/run/$1.uts" 2>/dev/null) || return 0
  for dir in /proc/[0-9]*; do
    [ "$(readlink "$dir/ns/uts" 2>/dev/null)" = "$namespace" ] || continue
    alive "${dir#/proc/}" && echo "${dir#/proc/}"
  done
  return 0
}

node_names() { local i; for ((i = 0; i < nodes; i++)); do echo "node$i"; done; }

drained() { [[ $(sinfo -h -n "$1" -o %t 2>/dev/null) = dr* ]]; }

all_idle() { [ "$(timeout 5 sinfo -h -r -t idle -o %D 2>/dev/null)" = "$nodes" ]; }

load() { [ -f "$state/shape" ] || die "no cluster in $state"; nodes=$(cat "$state/shape"); }

check() {
  local command
  [ "$(id -u)" = 0 ] || die "not root: a private Slurm cluster needs namespaces"
  for command in slurmctld slurmd sbatch srun munged unshare nsenter; do
    command -v $command >/dev/null || die "no $command; apt-get install slurmctld slurmd slurm-client munge"
  done
  unshare --uts --mount --ipc true 2>/dev/null || die "this container may not make namespaces"
  [ -e /sys/fs/cgroup ] || die "no /sys/fs/cgroup, which slurmd wants to see"
  compgen -G '/usr/lib*/*/slurm*/mpi_pmix*.so' >/dev/null || compgen -G '/usr/lib*/slurm*/mpi_pmix*.so' >/dev/null ||
    die "this Slurm has no PMIx plugin"
}

# A base port whose neighbours are free too, so that two clusters can run beside each other.
free_port() {
  local base port
  for ((base = 21000 + 16 * ($$ % 600); base < 32000; base += 16)); do
    for ((port = base; port <= base + nodes; port++)); do
      (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
    done
    echo $base
    return
  done
  die "no free ports"
}

write_node_lines() {  # FIRST_PORT TASKS GPUS MEMORY
  local i gres=""
  [ "$3" -gt 0 ] && gres=Gres=gpu:$3
  for ((i = 0; i < nodes; i++)); do
    echo "NodeName=node$i NodeHostname=node$i NodeAddr=127.0.0.1 Port=$(($1 + i)) CPUs=$2 Sockets=1" \
      "CoresPerSocket=$2 ThreadsPerCore=1 RealMemory=$4 $gres State=UNKNOWN"
  done
}

write_configuration() {  # TASKS GPUS MEMORY
  local port
  port=$(free_port)
  sed -e "s|@STATE@|$state|g" -e "s|@PORT@|$port|g" "$here/slurm.conf.in" >"$SLURM_CONF"
  write_node_lines $((port + 1)) "$@" >>"$SLURM_CONF"
  echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP" >>"$SLURM_CONF"
  # Slurm 22.05's default fence now and then lets a rank out of MPI_Init before its peers are ready; a peer segfaults.
  echo "PMIxCollFence=ring" >"$state/mpi.conf"
  [ "$2" -eq 0 ] && return
  printf 'AutoDetect=off\nNodeName=node[0-%d] Name=gpu File=%s/dev/gpu[0-%d]\n' \
    $((nodes - 1)) "$state" $(($2 - 1)) >"$state/gres.conf"
  local i
  for ((i = 0; i < $2; i++)); do mknod "$state/dev/gpu$i" c 1 3 || die "mknod"; done  # any device will do: null
}

# slurmd turns into a daemon, and its child keeps the namespaces alive. -c drops the state of the last run, and so must
# the folders be: a PMIx directory left by a killed step stops the same step when it is requeued.
start_node() {
  local name=$1
  rm -rf "${state:?}/spool/$name" "${state:?}/tmp/$name"
  mkdir -p "$state/spool/$name" "$state/tmp/$name"
  # shellcheck disable=SC2016  # the inner shell expands
  unshare --uts --mount --ipc sh -c 'hostname "$1" && mount -t tmpfs -o size=4g tmpfs /dev/shm &&
    readlink /proc/self/ns/uts >"$2" && exec slurmd -N "$1" -c' sh "$name" "$state/run/$name.uts" </dev/null ||
    die "slurmd of $name did not start; see $state/log"
}

start_munged() {
  (umask 077; head -c 128 /dev/urandom >"$state/run/munge.key")
  munged --key-file="$state/run/munge.key" --socket="$state/run/munge.sock" --pid-file="$state/run/munged.pid" \
    --log-file="$state/log/munged.log" --seed-file="$state/run/munged.seed" --num-threads=2 ||
    die "munged did not start; see $state/log"
}

start() {
  local tasks=2 gpus=0 memory=4000 option
  nodes=2
  while getopts n:t:g:m: option; do
    case $option in n) nodes=$OPTARG ;; t) tasks=$OPTARG ;; g) gpus=$OPTARG ;; m) memory=$OPTARG ;; *) exit 2 ;; esac
  done
  check
  [ ${#state} -le 60 ] || die "CLUSTER_DIR is too long for Unix sockets: $state"
  [ ! -e "$state/shape" ] || die "there is a cluster in $state already"
  mkdir -p "$state"/{run,ctld,log,spool,tmp,dev}
  chmod 755 "$state" "$state/run"  # munge refuses a socket in a folder others cannot enter, or can write to
  echo "$nodes" >"$state/shape"
  write_configuration "$tasks" "$gpus" "$memory"
  start_munged
  slurmctld -c </dev/null || die "slurmctld did not start; see $state/log"
  local name
  for name in $(node_names); do start_node "$name"; done
  wait_for 20 all_idle || { sinfo -N -l; die "the nodes do not come up; see $state/log"; }
}

no_jobs() { [ -z "$(timeout 5 squeue -h 2>/dev/null)" ]; }

# TERM, then KILL what is left after a second: their state is thrown away.
end() {
  local pid
  [ $# -gt 0 ] || return 0
  kill "$@" 2>/dev/null
  wait_for 1 all_gone "$@" && return
  for pid in "$@"; do alive "$pid" && kill -9 "$pid" 2>/dev/null; done
  wait_for 5 all_gone "$@"
}

stop() {
  local name pid pids=()
  [ -f "$state/shape" ] || return 0
  load
  if alive "$(pid_of slurmctld)"; then
    timeout 10 scancel -u root 2>/dev/null
    timeout 10 scancel --full -s KILL -u root 2>/dev/null
    wait_for 5 no_jobs
  fi
  for name in slurmctld munged $(node_names); do
    pid=$(pid_of "$name")
    alive "$pid" && pids+=("$pid")
  done
  end "${pids[@]}"
  for name in $(node_names); do
    for pid in $(pids_in "$name"); do kill -9 "$pid" 2>/dev/null; done
  done
  rm -rf "${state:?}"/{run,ctld,spool,tmp,dev,shape,*.conf}
}

status() {
  local name
  load
  for name in munged slurmctld $(node_names); do
    if alive "$(pid_of "$name")"; then echo "$name up"; else echo "$name DOWN"; fi
  done
  sinfo -N -l
  squeue
}

# What a rank needs on an oversubscribed machine whose only network is lo.
client_environment() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
  export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
  # Two nodes on one machine have the same process numbers in view: no copying out of each other's memory.
  export OMPI_MCA_btl_vader_single_copy_mechanism=none
}

fail() {
  local pids
  load
  pids=$(pids_in "$1")
  [ -n "$pids" ] || die "$1 is down already"
  # shellcheck disable=SC2086  # a list of numbers
  kill -9 $pids
  rm -f "$state/run/$1.pid"
}

# Drained until slurmctld's pending kill of the old run has come through: it would hit a requeued run of the same id.
revive() {
  load
  [ -z "$(pids_in "$1")" ] || die "$1 is up"
  scontrol update nodename="$1" state=drain reason=revive
  start_node "$1"
  wait_for 20 drained "$1" || die "$1 does not come back"
  sleep 3
  scontrol update nodename="$1" state=resume
}

on() {
  local pid
  load
  pid=$(pid_of "$1")
  alive "$pid" || die "$1 is down"
  shift
  client_environment
  nsenter -t "$pid" --uts --mount --ipc --wd="$PWD" "$@"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  check | start | stop | status | fail | revive | on) $command "$@" ;;
  exec) load; client_environment; exec "$@" ;;
  *) sed -n '2,17p' "$0"; exit 2 ;;
esac
