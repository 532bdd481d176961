#!/bin/bash
# setup_test.sh: tools/setup.sh in worlds of our making: a PATH of links and stand-ins for apt-get. Changes nothing.
# shellcheck source=tests/tools/check.sh
. "$(dirname "$0")/check.sh"

# A PATH with the shell's own tools and every program Sherd needs, without apt-get and sudo.
world() {
  rm -rf "${work:?}/bin"
  mkdir "$work/bin"
  local tool
  for tool in bash sed sort head tr env; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
  for tool in ninja pkg-config mpicc mpirun python3; do stand_in bin/$tool 'exit 0'; done
  stand_in bin/g++ 'echo "g++ (Debian 12.2.0-14) 12.2.0"'
  stand_in bin/cmake 'echo "cmake version 3.25.1"'
  stand_in bin/id 'echo 1000'
}
setup() {  # the real PATH's sbin is added by setup.sh: only stand-ins and links can be found first
  PATH=$work/bin "$BASH" "$root/tools/setup.sh" "$@" >"$work/said" 2>&1
  code=$?
}

world
setup
expect "nothing missing: exit 0" is $code 0
expect "nothing missing: says nothing" is "$(cat "$work/said")" ""

rm "$work/bin/ninja" "$work/bin/mpicc"
setup
expect "may not install: exit 2" is $code 2
expect "may not install: prints one line to type" says \
  "sudo apt-get update && sudo apt-get install -y ninja-build libopenmpi-dev"
expect "may not install: names the module" says "module load openmpi"
expect "may not install: names the Spack package" says "spack load ninja"

world
stand_in bin/cmake 'echo "cmake version 3.20.2"'
setup
expect "old cmake: exit 2" is $code 2
expect "old cmake: says found and wanted" says "cmake 3.20.2 is too old: Sherd needs 3.25 or newer"

world
rm "$work/bin/ninja"
stand_in bin/id 'echo 0'
ln -s "$(command -v chmod)" "$work/bin/chmod"
# apt-get that knows ninja-build, once `known` is there, and puts a ninja where the real one would.
stand_in bin/apt-get "echo \"apt-get \$*\"
case \$* in
  *update) : >'$work/known' ;;
  *install*) [ -e '$work/known' ] || { echo 'E: Unable to locate package'; exit 100; } ;;
esac
case \$* in *'install -y'*) printf '#!/bin/sh\n' >'$work/bin/ninja'; chmod +x '$work/bin/ninja' ;; esac"
: >"$work/known"
setup
expect "root: installs what is missing" says "install -y --no-install-recommends ninja-build"
expect "root: exit 0" is $code 0
expect "root: no update where the lists know the package" is "$(grep -c update "$work/said")" 0

rm "$work/bin/ninja" "$work/known"
setup
expect "empty package lists: updates first" is "$(grep -c '^apt-get.* update$' "$work/said")" 1
expect "empty package lists: installs once" is "$(grep -c 'install -y' "$work/said")" 1
expect "empty package lists: exit 0" is $code 0

rm "$work/bin/ninja"
stand_in bin/apt-get 'echo "E: no network" >&2; exit 100'
setup
expect "apt fails: exit 2" is $code 2
expect "apt fails: the line to type" says "install -y ninja-build"

setup --tests
expect "unknown option: exit 2" is $code 2
report
