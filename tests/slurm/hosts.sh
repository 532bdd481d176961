#!/bin/bash
# Several hosts on one machine for plain Open MPI, without Slurm: each has its own network, UTS, mount and IPC
# namespace, and a link whose rate (and, with a switch of ours, delay) is set. For measuring how well communication hides
# behind computation. Needs root and iproute2.
#
#   hosts.sh start [-n HOSTS] [-s SLOTS] [-r RATE]             links into a bridge; RATE as tc has it, e.g. 1gbit
#   hosts.sh start [-n HOSTS] [-s SLOTS] -d MICROSECONDS [-R MBIT]   links into vswitch: delay, and rate
#   hosts.sh rate RATE|off      caps every host's link, both ways
#   hosts.sh mpirun ARGS...     mpirun on host0, over all hosts
#   hosts.sh on HOST COMMAND...
#   hosts.sh stop
#
# HOSTS_DIR (required) holds the state. VSWITCH is the program built from vswitch.cpp, for -d.
set -u
state=${HOSTS_DIR:?set HOSTS_DIR to a folder for the hosts\' state}
prefix=sherd$(printf '%s' "$state" | cksum | cut -c1-4)  # of the network namespaces' names, which are global
subnet=10.78.0
export PATH=$PATH:/usr/sbin:/sbin

die() { echo "hosts.sh: $*" >&2; exit 1; }

load() { [ -f "$state/shape" ] || die "no hosts in $state"; hosts=$(cat "$state/shape"); }

limit() {  # NAMESPACE INTERFACE RATE|off
  tc -n "$1" qdisc del dev "$2" root 2>/dev/null
  [ "$3" = off ] || tc -n "$1" qdisc add dev "$2" root tbf rate "$3" burst 128kb latency 100ms || die "tc refused $3"
}

rate() {
  local i
  load
  for ((i = 0; i < hosts; i++)); do
    limit "$prefix-host$i" eth0 "$1"
    limit "$prefix-switch" "port$i" "$1"
  done
}

connect_by_bridge() {
  local i
  ip netns add "$prefix-switch"
  ip -n "$prefix-switch" link add bridge type bridge
  ip -n "$prefix-switch" link set bridge up
  for ((i = 0; i < hosts; i++)); do
    ip -n "$prefix-switch" link add "port$i" type veth peer name eth0 netns "$prefix-host$i"
    ip -n "$prefix-switch" link set "port$i" master bridge up
  done
}

connect_by_vswitch() {  # DELAY_US MBIT
  local i ends=()
  [ -x "${VSWITCH:-}" ] || die "-d needs VSWITCH: g++ -O2 -std=c++20 tests/slurm/vswitch.cpp -o vswitch"
  for ((i = 0; i < hosts; i++)); do ends+=("$prefix-host$i=eth0"); done
  "$VSWITCH" "$1" "$2" "${ends[@]}" </dev/null >"$state/vswitch.log" 2>&1 &
  echo $! >"$state/vswitch.pid"
  for ((i = 0; i < 100; i++)); do grep -q ready "$state/vswitch.log" && break; sleep 0.05; done
  grep -q ready "$state/vswitch.log" || die "vswitch: $(cat "$state/vswitch.log")"
  for ((i = 0; i < hosts; i++)); do ip -n "$prefix-host$i" link set eth0 mtu 16000 txqueuelen 2000; done
}

# A process that holds a host's namespaces; the names of all hosts are bound over /etc/hosts, seen only in there.
start_host() {
  local namespace=$prefix-host$1
  ip -n "$namespace" addr add "$subnet.$(($1 + 1))/24" dev eth0
  ip -n "$namespace" link set eth0 up
  # shellcheck disable=SC2016  # the inner shell expands
  nsenter --net="/run/netns/$namespace" unshare --uts --mount --ipc sh -c 'hostname "$1" &&
    mount -t tmpfs -o size=4g tmpfs /dev/shm && mount --bind "$2/hosts" /etc/hosts && : >"$2/$1.up" &&
    exec sleep infinity' sh "host$1" "$state" </dev/null >/dev/null 2>&1 &
  echo $! >"$state/host$1.pid"
}

write_files() {  # SLOTS
  local i
  echo "$hosts" >"$state/shape"
  echo "127.0.0.1 localhost" >"$state/hosts"
  for ((i = 0; i < hosts; i++)); do
    echo "$subnet.$((i + 1)) host$i" >>"$state/hosts"
    echo "host$i slots=$1" >>"$state/hostfile"
  done
  # What mpirun calls instead of ssh: HOST COMMAND...
  cat >"$state/rsh" <<RSH
#!/bin/bash
host=\$1
shift
exec nsenter -t "\$(cat $state/\$host.pid)" --net --uts --mount --ipc -- sh -c "\$*"
RSH
  chmod +x "$state/rsh"
}

start() {
  local slots=2 limit="" delay="" megabits=0 option i
  hosts=2
  while getopts n:s:r:d:R: option; do
    case $option in
      n) hosts=$OPTARG ;; s) slots=$OPTARG ;; r) limit=$OPTARG ;; d) delay=$OPTARG ;; R) megabits=$OPTARG ;;
      *) exit 2 ;;
    esac
  done
  [ "$(id -u)" = 0 ] || die "not root"
  [ ! -e "$state/shape" ] || die "there are hosts in $state already"
  mkdir -p "$state"
  write_files "$slots"
  for ((i = 0; i < hosts; i++)); do
    ip netns add "$prefix-host$i" || die "this container may not make network namespaces"
    ip -n "$prefix-host$i" link set lo up
  done
  if [ -n "$delay" ]; then connect_by_vswitch "$delay" "$megabits"; else connect_by_bridge; fi
  for ((i = 0; i < hosts; i++)); do start_host $i; done
  for ((i = 0; i < 100; i++)); do [ "$(find "$state" -name '*.up' | wc -l)" = "$hosts" ] && break; sleep 0.05; done
  [ "$i" -lt 100 ] || die "the hosts do not come up"
  [ -z "$limit" ] || rate "$limit"
}

stop() {
  local i
  [ -f "$state/shape" ] || return 0
  load
  for ((i = 0; i < hosts; i++)); do
    kill -9 "$(cat "$state/host$i.pid")" 2>/dev/null
    ip netns del "$prefix-host$i"
  done
  [ ! -f "$state/vswitch.pid" ] || kill "$(cat "$state/vswitch.pid")" 2>/dev/null
  [ ! -e "/run/netns/$prefix-switch" ] || ip netns del "$prefix-switch"
  rm -rf "${state:?}"
}

on() {
  local pid
  load
  pid=$(cat "$state/$1.pid") || die "no host $1"
  shift
  exec nsenter -t "$pid" --net --uts --mount --ipc --wd="$PWD" -- "$@"
}

run_mpi() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
  export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_hwloc_base_binding_policy=none
  unset OMPI_MCA_btl_tcp_if_include OMPI_MCA_oob_tcp_if_include
  on host0 mpirun --mca plm rsh --mca plm_rsh_agent "$state/rsh" --hostfile "$state/hostfile" "$@"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  start | stop | rate | on) $command "$@" ;;
  mpirun) run_mpi "$@" ;;
  *) sed -n '2,13p' "$0"; exit 2 ;;
esac
