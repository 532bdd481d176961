#!/bin/bash
# bundle.sh BUILD OUT: packs what was built in the folder BUILD into the archive OUT (.tar.xz, .tar.zst or .tar.gz), which runs on
# machines where nothing of ours is installed: the programs, the tests that a GPU is checked with, jobs, inputs, and the
# libraries they need, but for those of glibc and of CUDA; of Open MPI what one node and a start by srun need.
#
# Libraries are found by DT_RPATH. DT_RUNPATH comes after LD_LIBRARY_PATH, which modules fill with other versions of the
# same libraries, and does not reach what a library's dependencies depend on, nor what Open MPI's plugins do.
# Exit: 0 done, 2 something is missing, 4 the archive is larger than 50 MB.
set -euo pipefail
shopt -s nullglob
export LC_ALL=C
[ $# = 2 ] || { sed -n '2,9p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
largest=50000000  # bytes
wanted_tests='^(ops|device|model|collectives|invariance)_test'  # beside those with the labels gpu and golden
of_glibc='^(linux-vdso|ld-linux.*|libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libanl|libnss_.*)\.so'
of_cuda='^lib(cuda|cudart|cublas.*|cudnn.*|nccl.*|nvrtc.*|nvJitLink|nvidia-.*|cupti|curand|cufft|cusparse|cusolver)\.so'
of_mpi='^lib(mpi|open-rte|open-pal|mca_.*)\.so'
of_networks='lib(ucp|uct|fabric|ibverbs|psm.*|nl-3|oshmem|mca_common_monitoring)\.so'

die() { echo "bundle: $*" >&2; exit 2; }

cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }

declare -A path_of carried from_machine  # by a library's name: where it lies here, the folder it is carried in, not carried
declare -A origin                        # by a file's name in the bundle, if it is not ours: where it came from

# Where the libraries that these files need lie.
learn_paths() {
  local name path
  while read -r name _ path _; do
    [ "$path" != not ] || [[ $name =~ $of_cuda ]] || die "a library that is needed is not found here: $name"
    path_of[$name]=$path
  done < <(ldd "$@" 2>/dev/null | grep ' => ')
}

needed_by() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# carry FOLDER FILE...: copies to FOLDER all libraries that FILEs need, directly or not, except those that are carried
# already. What is of the MPI goes to mpi/lib only, with what nothing else needs: that folder can be exchanged.
carry() {
  local folder=$1 file name queue
  shift
  learn_paths "$@"
  queue=("$@")
  while [ ${#queue[@]} -gt 0 ]; do
    file=${queue[0]}
    queue=("${queue[@]:1}")
    while read -r name; do
      if [[ $name =~ $of_glibc || -n ${carried[$name]:-} || $folder = lib && $name =~ $of_mpi ]]; then continue; fi
      if [[ $name =~ $of_cuda ]]; then from_machine[$name]=yes; continue; fi
      carried[$name]=$folder
      origin[$folder/$name]=$(realpath "${path_of[$name]}")
      install -D -m 755 "${path_of[$name]}" "$stage/$folder/$name"
      queue+=("${path_of[$name]}")
    done < <(needed_by "$file")
  done
}

take_programs() {
  local program
  install -D -t "$stage/libexec" "$build/src/app/sherd"
  for program in "$build/tools/fetch/sherd-fetch" "$build/tools/chess/sherd-games" "$build/tools/bench/train_bench" \
    "$build/tools/bench/gpu_ops_bench"; do
    [ -x "$program" ] || { echo "bundle: no ${program##*/} in $build: it is left out"; continue; }
    if needed_by "$program" | grep -q '^libarrow'; then
      echo "bundle: ${program##*/} is left out: it was built with Apache Arrow, which alone is as large as the rest;" \
        "'make bundle' builds it without"
      continue
    fi
    install -t "$stage/libexec" "$program"
  done
}

# Tests that are programs by themselves, also under mpirun.sh; those of scripts need a source tree.
take_tests() {
  local name labels words program
  : >"$work/tests"
  while IFS=$'\t' read -r name labels words; do
    [[ ,$labels, =~ ,(gpu|golden), || $name =~ $wanted_tests ]] || continue
    program=${words##*$'\t'}
    words=${words//"$root/tools/mpirun.sh"/tools/mpirun.sh}
    [[ $words = "$program" || $words = tools/mpirun.sh$'\t'* && -x $program ]] || continue
    [ -x "$program" ] || die "the test $name is not built; build all of $build first"
    install -D -t "$stage/tests" "$program"
    printf '# test:\t%s\t%s\t%s\n' "$name" "$labels" "${words%"$program"}tests/${program##*/}" >>"$work/tests"
  done < <("$root/tools/test_commands.sh" "$build")
}

take_files() {
  local program place
  (cd "$root" && find jobs inputs tests/golden tools/gpu_check tools/gpu_bench tools/bench/shapes -type f \
    ! -path '*/__pycache__/*' ! -name '*.[ch]pp' ! -name CMakeLists.txt -print0 | xargs -0 cp --parents -t "$stage" tools/mpirun.sh tools/gpu_check.sh \
    tools/gpu_bench.sh tools/bench/pytorch_gpu_bench.py LICENSE)
  cp "$root/tools/bundle/env.sh" "$root/tools/bundle/README" "$stage/"
  mkdir -p "$stage/bin"
  sed "s/@SHERD_MARCH@/$(cached SHERD_MARCH)/" "$root/tools/bundle/run.sh" >"$stage/bin/run"
  chmod 755 "$stage/bin/run"
  ln -s run "$stage/bin/mpirun"
  for program in "$stage"/libexec/*; do
    program=${program##*/}
    case $program in
      sherd) place=src/app ;;
      sherd-fetch) place=tools/fetch ;;
      *_bench) place=tools/bench ;;
      *) place=tools/chess ;;
    esac
    ln -s run "$stage/bin/$program"
    mkdir -p "$stage/build/$place"
    ln -s "../../../bin/$program" "$stage/build/$place/$program"  # where the jobs look
  done
}

mpi_path() { sed -n "s/^path:$1://p" "$work/mpi_paths" | head -n 1; }

# A folder of Open MPI's as it lies under its prefix, so that OPAL_PREFIX alone says where all of them are.
under_prefix() {
  case $1 in
    "$mpi_prefix"/*) echo "$stage/mpi/${1#"$mpi_prefix"/}" ;;
    *) die "$1 does not lie under Open MPI's prefix $mpi_prefix: it cannot be moved" ;;
  esac
}

# Plugins for networks that want libraries of their own are left out: a cluster that has them has an MPI for them, too.
take_mpi() {
  local plugins file plugin_folder
  command -v ompi_info >/dev/null || die "no ompi_info: only Open MPI can be carried"
  [[ $(ompi_info --version) = *v4.* ]] || die "only Open MPI 4 can be carried; found $(ompi_info --version | head -n 1)"
  ompi_info --parsable --path all >"$work/mpi_paths"
  mpi_prefix=$(mpi_path prefix)
  plugins=$(mpi_path pkglibdir)
  plugin_folder=$(under_prefix "$plugins")
  mkdir -p "$stage/mpi/bin" "$plugin_folder" "$(under_prefix "$(mpi_path pkgdatadir)")" "$stage/mpi/etc/openmpi"
  install "$(mpi_path bindir)/orterun" "$stage/mpi/bin/mpirun"
  install "$(mpi_path bindir)/orted" "$stage/mpi/bin/orted"
  origin[mpi/bin/mpirun]=$(mpi_path bindir)/orterun
  cp "$(mpi_path pkgdatadir)"/help-*.txt "$(under_prefix "$(mpi_path pkgdatadir)")"
  file=$(mpi_path sysconfdir)/openmpi-mca-params.conf
  if [ -e "$file" ]; then
    cp "$file" "$stage/mpi/etc/openmpi"
    origin[mpi/etc/openmpi/openmpi-mca-params.conf]=$file
  fi
  for file in "$plugins"/mca_*.so; do
    needed_by "$file" | grep -Eq "$of_networks" || install "$file" "$plugin_folder"
  done
  carry mpi/lib "$stage"/mpi/bin/* "$plugin_folder"/*.so "$stage"/libexec/* "$stage"/lib/*
  take_pmix
}

# PMIx has a prefix and plugins of its own where it is not built into Open MPI.
take_pmix() {
  local pmix=${origin[mpi/lib/libpmix.so.2]:-}
  [ -n "$pmix" ] || return 0
  pmix=$(dirname "$pmix")
  mkdir -p "$stage/mpi/pmix/lib/pmix" "$stage/mpi/pmix/share/pmix"
  cp "$pmix"/pmix/*.so "$stage/mpi/pmix/lib/pmix"
  cp "$pmix"/../share/pmix/help-*.txt "$stage/mpi/pmix/share/pmix"
  carry mpi/lib "$stage"/mpi/pmix/lib/pmix/*.so
}

# strip comes first: some versions damage what patchelf has moved.
set_run_paths() {
  local file folder
  while IFS= read -r file; do
    folder=$(dirname "$file")
    strip --strip-unneeded "$file"
    patchelf --force-rpath --set-rpath "\$ORIGIN/$(realpath --relative-to="$folder" "$stage/lib"):\
\$ORIGIN/$(realpath --relative-to="$folder" "$stage/mpi/lib")" "$file"
  done < <(elf_files)
}
elf_files() {
  find "$stage" -type f \( -name '*.so*' -o -path '*/libexec/*' -o -path '*/mpi/bin/*' -o -path "$stage/tests/*_test" \)
}

# What of glibc the bundle needs from the machine that it runs on: the newest version of any symbol.
find_glibc() { glibc=$(elf_files | xargs readelf -V | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1); }

# One line per library: its package, version and licences, where this system has packages; the licences' texts go along.
describe_carried() {
  local file path package version
  local -A package_of=() version_of=()
  if command -v dpkg >/dev/null; then  # which knows files by their names before /lib became /usr/lib
    while IFS= read -r file; do
      package_of[${file#*: }]=${file%%:*}
    done < <(dpkg -S "${origin[@]}" "${origin[@]#/usr}" 2>/dev/null)
    while read -r package version; do version_of[$package]=$version; done < <(dpkg-query -W -f '${Package} ${Version}\n')
  fi
  for file in "${!origin[@]}"; do
    path=${origin[$file]}
    package=${package_of[$path]:-${package_of[${path#/usr}]:-}}
    printf '# carried:\t%s\t%s\n' "$file" "$(describe "$package" "of no package: ${path##*/}")"
  done | sort
  # Templates, and what is linked statically.
  for package in nlohmann-json3-dev libspdlog-dev libcli11-dev libgtest-dev; do
    printf '# compiled in:\t%s\n' "$(describe "$package" "$package")"
  done
}

describe() {
  local version=${version_of[${1:-none}]:-} names
  [ -n "$version" ] || { printf '%s\tunknown' "$2"; return; }
  mkdir -p "$stage/licences"
  cp -L "/usr/share/doc/$1/copyright" "$stage/licences/$1"
  names=$(sed -n 's/^License: *//p' "$stage/licences/$1" | sort -u | paste -s -d ';')
  printf '%s %s\t%s' "$1" "$version" "${names:-see licences/$1}"
}

write_manifest() {
  local file commit
  {
    commit=$(git -C "$root" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
    echo "# Sherd $(cached CMAKE_PROJECT_VERSION), commit $commit"
    echo "# Check with: sha256sum --check --quiet MANIFEST"
    printf '# cpu:\t%s\n# glibc:\t%s or newer\n' "$(cached SHERD_MARCH)" "${glibc#GLIBC_}"
    printf '# open mpi:\t%s\n' "$(ompi_info --version | sed -n '1s/^Open MPI //p')"
    for file in "${!from_machine[@]}"; do printf '# from the machine:\t%s\n' "$file"; done | sort
    cat "$work/tests"
    describe_carried
    printf '# carried:\teverything else\tSherd\tApache-2.0\n'
  } >"$work/MANIFEST"
  (cd "$stage" && find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum) >>"$work/MANIFEST"
  mv "$work/MANIFEST" "$stage/"
}

pack() {
  local compress size
  case $out in
    *.tar.gz) compress='gzip -n' ;;
    # Each program holds the same kernels, 20 MB of them: the dictionary reaches from one to the next.
    *.tar.xz) compress='xz --lzma2=preset=1,dict=128MiB' ;;
    *.tar.zst) compress='zstd -q -12 --long=27' ;;
    *) die "$out: expected a name that ends in .tar.xz, .tar.zst or .tar.gz" ;;
  esac
  mkdir -p "$(dirname "$out")"
  tar -C "$work" -cf - --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime="@$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)" "$name" | $compress >"$out.part"
  size=$(stat -c %s "$out.part")
  if [ "$size" -ge $largest ]; then
    echo "bundle: $size bytes, more than the $largest that a bundle may have; its largest files:" >&2
    find "$stage" -type f -printf '%s %P\n' | sort -rn | head -n 10 >&2
    rm "$out.part"
    exit 4
  fi
  mv "$out.part" "$out"
  echo "bundle: $out, $((size / 1000000)) MB, for $(cached SHERD_MARCH) and ${glibc/_/ } or newer"
}

build=$(realpath "$1")
out=$2
for file in src/app/sherd CMakeCache.txt; do
  [ -e "$build/$file" ] || die "no program in $build; 'make bundle' builds it"
done
for tool in patchelf readelf strip ldd ctest; do
  command -v $tool >/dev/null || die "no $tool here; on Debian or Ubuntu: apt-get install patchelf binutils cmake"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=${out##*/}
name=${name%.tar.*}
stage=$work/$name
mkdir -p "$stage/lib" "$stage/mpi/lib"
take_programs
take_tests
take_files
carry lib "$stage"/libexec/* "$stage"/tests/*_test
take_mpi
set_run_paths
find_glibc
write_manifest
pack
