# shellcheck shell=bash
# Sourced by the jobs, after find_root: where games come from. Needs $root and die.

absolute() { case $1 in /*) echo "$1" ;; *) echo "${SLURM_SUBMIT_DIR:-$PWD}/$1" ;; esac; }

# The first of these files that is there.
first_of() { local file; for file in "$@"; do if [ -e "$file" ]; then echo "$file"; return; fi; done; }

# verify_fetched FOLDER...: what was fetched with sherd-fetch proves itself again here, without network.
verify_fetched() {
  local folder program
  program=${SHERD_FETCH:-$(first_of "$root/build-fetch/tools/fetch/sherd-fetch" "$root/build/tools/fetch/sherd-fetch")}
  for folder in "$@"; do
    [ -f "$folder/sherd.lock.json" ] || continue
    [ -x "$program" ] || die "no sherd-fetch to check $folder with; 'make fetch' on the login node, or set SHERD_FETCH"
    "$program" verify "$folder" || die "$folder is not what was fetched; see above"
  done
}

# Files in a corpus's order, or the one file.
files_of() {
  [ -d "$1" ] || { printf '%s\n' "$1"; return; }
  find -L "$1" -maxdepth 1 -type f \( -name '*.jsonl' -o -name '*.txt' -o -name '*.pgn' -o -name '*.pgn.zst' \
    -o -name '*.parquet' \) | LC_ALL=C sort
}

# Where a file's text goes: another file of the same name has another place.
text_of() { echo "$2/${1##*/}.$(realpath "$1" | cksum | cut -d' ' -f1)-$(stat -L -c %s "$1").jsonl"; }

# find_games DATA FOLDER: sets the array `games` to files of text. DATA is one, or a file of PGN or Parquet, or a folder of
# any of these. What is no text is converted into FOLDER, several files at once on this node, unless that was done before.
find_games() {
  local file text program todo=()
  games=()
  program=${SHERD_GAMES:-$(first_of "$root/build-fetch/tools/chess/sherd-games" "$root/build/tools/chess/sherd-games")}
  while IFS= read -r file; do
    case $file in
      *.pgn | *.pgn.zst | *.parquet)
        text=$(text_of "$file" "$2")
        [ "$text" -nt "$file" ] || todo+=("$file" "$text")
        games+=("$text")
        ;;
      *) games+=("$file") ;;
    esac
  done < <(files_of "$1")
  [ ${#games[@]} -gt 0 ] || die "no games in $1; expected files .jsonl, .txt, .pgn, .pgn.zst or .parquet"
  [ ${#todo[@]} -gt 0 ] || return 0
  [ -x "$program" ] || die "no sherd-games to read ${todo[0]} with; 'make fetch' on the login node, or set SHERD_GAMES"
  mkdir -p "$2"
  # shellcheck disable=SC2016  # the inner shell expands
  printf '%s\0' "${todo[@]}" | xargs -0 -n 2 -P "${SLURM_CPUS_ON_NODE:-1}" sh -c '"$0" "$1" --output "$2"' "$program" ||
    die "not all of $1 could be read; see above"
}
