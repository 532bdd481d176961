#!/bin/bash
# bundle_test.sh BUILD: packs the programs of BUILD, unpacks them in a folder of another name, and uses them with an empty
# environment. Exit 77 where patchelf is missing.
export LC_ALL=C
build=$1
# shellcheck source=tests/tools/check.sh
. "$(dirname "$0")/check.sh"
place="$work/another place/sherd 2"
# glibc's own, and CUDA's where a build with CUDA finds them.
of_machine='/(ld-linux-x86-64|libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libnss_[a-z]*)\.so'
of_machine+='|/lib(cuda|cudart|cublas|cudnn|nccl|nvrtc|nvJitLink|nvidia|cupti|cufft|curand|cusparse|cusolver)[-_A-Za-z]*\.so'

nothing_said() { ! [ -s "$work/said" ]; }
# Runs with nothing in the environment but a path to the system's own tools.
clean() { (cd "$work/run" && env -i PATH=/usr/bin:/bin "${settings[@]}" "$@" >"$work/said" 2>&1 </dev/null); code=$?; }
settings=()
elf_files() { find "$place" -type f \( -name '*.so*' -o -path '*/libexec/*' -o -path '*/mpi/bin/*' -o -name '*_test' \) -print0; }

command -v patchelf >/dev/null || { echo "SKIPPED bundle: no patchelf here (apt-get install patchelf)"; exit 77; }
"$root/tools/bundle.sh" "$build" "$work/sherd.tar.xz" >"$work/said" 2>&1
code=$?
expect "packs: exit 0" is $code 0
[ $code = 0 ] || exit 1
cat "$work/said"
expect "less than 50 MB" [ "$(stat -c %s "$work/sherd.tar.xz")" -lt 50000000 ]
mkdir -p "$place" "$work/run"
tar -xf "$work/sherd.tar.xz" -C "$place" --strip-components=1

clean "$place/bin/sherd" --version
expect "starts: exit 0" is $code 0
expect "with its own Open MPI" says '^mpi: Open MPI v4'
(cd "$place" && sha256sum --check --quiet MANIFEST) >"$work/said" 2>&1
expect "every file is as MANIFEST says" is $? 0
grep -P '^# (carried|compiled in):\t.*\t(unknown)?$' "$place/MANIFEST" >"$work/said"
expect "each carried library has a package and licences" nothing_said
elf_files | xargs -0 readelf -d >"$work/dynamic"
sed -n 's/.*(RUNPATH)/has DT_RUNPATH/p; s/.*(RPATH).*\[\(.*\)\]/\1/p' "$work/dynamic" | tr ':' '\n' | grep -Fv "\$ORIGIN/" |
  sort -u >"$work/said"
expect "DT_RPATH alone, and that relative" nothing_said
sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/dynamic" | sort -u | while IFS= read -r name; do
  [ -e "$place/lib/$name" ] || [ -e "$place/mpi/lib/$name" ] || echo "/$name"
done | grep -Ev "$of_machine" >"$work/said"
expect "each library that any of them needs is there" nothing_said

clean "$place/bin/train_bench" --model "$place/tools/bench/shapes/llama_30m.json" --device cpu --threads 1 --warmup 0 \
  --max-seq-length 32 --rounds 1
expect "times a step" says '"mode":"whole".*"tokens_per_second":[1-9]'
expect "what gpu_bench.sh needs is there" is "$(cd "$place/tools" && ls gpu_bench.sh gpu_bench/*.* bench/*.py bench/shapes/*7b.json)" \
  "$(cd "$root/tools" && ls gpu_bench.sh gpu_bench/*.* bench/pytorch_gpu_bench.py bench/shapes/*7b.json)"

# What the loader really opened, plugins included, of the processes that run a program of the bundle.
head -n 200 "$place/inputs/chess_sample.jsonl" >"$work/run/games.jsonl"
clean "$place/bin/sherd" prepare --input games.jsonl --output corpus.h5 --tokenizer t.model \
  --train-tokenizer 160
expect "prepares a corpus: exit 0" is $code 0
settings=(LD_DEBUG=libs LD_DEBUG_OUTPUT="$work/run/loader")
clean "$place/bin/run" "$place/tools/mpirun.sh" 2 sherd train --config "$place/inputs/chess_tiny.toml" \
  --model "$place/inputs/chess_tiny" --from-scratch --data corpus.h5 --output out --max-training-steps 2 --threads 1 \
  --eval-batches 0 --max-seq-length 64 --total-batch-size 2 --batch-size-per-device 1
expect "trains on two ranks of its own mpirun: exit 0" is $code 0
expect "two steps were made" is "$(grep -c '"loss"' "$work/run/out/metrics.jsonl")" 2
grep -l "initialize program: $place/" "$work"/run/loader.* >"$work/ours"
expect "mpirun and both ranks were watched" [ "$(wc -l <"$work/ours")" -ge 3 ]
xargs -d '\n' sed -n 's/.*calling init: //p' <"$work/ours" | sort -u >"$work/opened"
expect "Open MPI's plugins were opened" grep -q "^$place/mpi/.*/mca_pml_ob1.so" "$work/opened"
grep -Ev "^$place/|$of_machine" "$work/opened" >"$work/said"
expect "nothing was opened outside of the bundle but what is left to the machine" nothing_said
settings=()

clean "$place/bin/run" "$place/tools/mpirun.sh" 2 ./no-such-program
expect "Open MPI finds its texts" says 'mpirun was unable to'
clean "$place/bin/run" "$place/tests/device_test" --gtest_brief=1
expect "a test of the bundle passes" says '\[  PASSED  \] [1-9]'
mkdir "$work/few"
for tool in sh env dirname readlink grep false; do ln -s "$(type -P $tool)" "$work/few/"; done
settings=(PATH="$work/few")
clean "$place/bin/run" mpirun --allow-run-as-root --oversubscribe -n 2 env
expect "where there is no ssh, mpirun starts all the same" is "$code $(grep -c '^OMPI_COMM_WORLD_SIZE=2' "$work/said")" "0 2"
clean "$place/bin/sherd" prepare --input games.jsonl --output other.h5 --tokenizer t.model
expect "where there is no ssh, so does a single process" is $code 0
settings=()
clean "$place/build/src/app/sherd" --version
expect "the program is where the jobs look for it" says '^sherd '
clean sh -c "cd '$place' && . ./env.sh && cd / && sherd --version && mpirun --version && env"
expect "env.sh: the programs by their names" says '^sherd '
expect "env.sh sets nothing that another MPI would read" is "$(grep -cE '^(OPAL|OMPI|PMIX|LD)_' "$work/said")" 0

mv "$place/mpi" "$place/mpi.carried"
mkdir "$place/mpi"
ln -s "$(dirname "$(ldd "$build/src/app/sherd" | sed -n 's/.*libmpi\.so.* => \([^ ]*\).*/\1/p')")" "$place/mpi/lib"
clean "$place/bin/sherd" --version
expect "runs with the Open MPI of the machine in place of its own" says '^mpi: Open MPI v4'
ldd "$place/libexec/sherd" | sed -n 's/.* => \(.*\) (0x.*/\1/p' | xargs -d '\n' realpath >"$work/said"
expect "which it then really uses" is "$(grep -c "^$(realpath "$place/mpi/lib")/libmpi\." "$work/said")" 1
expect "and HDF5 as it is carried" says "^$place/lib/libhdf5"

"$root/tools/bundle.sh" "$work" "$work/none.tar.gz" >"$work/said" 2>&1
expect "no program: exit 2" is $? 2
expect "no program: says what to do" says "no program in $work; 'make bundle' builds it"
"$root/tools/bundle.sh" "$build" "$work/none.zip" >"$work/said" 2>&1
expect "another kind of archive: exit 2" is $? 2
report
