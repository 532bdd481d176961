# shellcheck shell=bash
# check.sh: sourced by the tests of scripts. Gives them $root (the repository), $work (a folder of their own, removed at
# the end), stand-ins for programs, and expectations about $code and $work/said, which the tests write; `report` ends them.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export root
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

expect() {  # WHAT CONDITION...
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; tail -n 25 "$work/said" | sed 's/^/    /'; failed=1; fi
}
is() { [ "$1" = "$2" ]; }
says() { grep -qE -- "$1" "$work/said"; }
silent_about() { ! says "$1"; }
stand_in() {  # FILE SCRIPT: a program in $work
  printf '#!%s\n%s\n' "$BASH" "$2" >"$work/$1"
  chmod +x "$work/$1"
}
report() { exit $failed; }
