# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables of gpu_check.sh
# Sourced by gpu_check.sh: the JSON, the table, and the last line.

names_with() {
  local name
  for name in "${order[@]}"; do if [ "${status[$name]}" = "$1" ]; then printf '%s ' "$name"; fi; done
}
count() { names_with "$1" | wc -w; }
number() { if [[ ${1:-} =~ ^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$ ]]; then echo "$1"; else echo null; fi; }

# strings: the lines of standard input.
strings() {
  local line comma=''
  while IFS= read -r line; do printf '%s%s' "$comma" "$(quote "$line")"; comma=', '; done
}

write_json() {
  local name comma='' gpu driver memory capability
  IFS=, read -r gpu driver memory capability <<<"$device"
  printf '{\n  "date": %s, "host": %s,\n' "$(quote "$(date -u +%FT%TZ)")" "$(quote "$(uname -nsr)")"
  printf '  "program": "%s", "versions": [%s],\n' "${bundle:+bundle}${build:+build}" "$(versions | strings)"
  if [ -n "$device" ]; then
    printf '  "device": {"name": %s, "driver": %s, "cuda": %s, "memory": %s, "compute_capability": %s},\n' \
      "$(quote "$gpu")" "$(quote "${driver# }")" "$(quote "$cuda")" "$(quote "${memory# }")" "$(quote "${capability# }")"
  else printf '  "device": null,\n'; fi
  printf '  "passed": %s, "failed": %s, "skipped": %s, "left": %s, "checks": [' \
    "$(count pass)" "$(count fail)" "$(count skipped)" "$(count left)"
  for name in "${order[@]}"; do
    printf '%s\n    {"name": %s, "status": "%s", "seconds": %s, ' "$comma" "$(quote "$name")" "${status[$name]}" \
      "${seconds[$name]}"
    printf '"figure": %s, "limit": %s, "what": %s, "detail": %s, "figures": [%s]}' "$(number "${figure[$name]}")" \
      "$(number "${limit[$name]}")" "$(quote "${what[$name]}")" "$(quote "${detail[$name]}")" "$(figures "$name" | strings)"
    comma=,
  done
  printf '\n  ]\n}\n'
}

# What a test printed as reached (tests/figure.hpp).
figures() {
  [ -n "$device" ] || return
  case $1 in test.*) sed -n 's/^\([0-9]*: \)\?figure: //p' "$out/logs/$1.log" 2>/dev/null ;; esac
}

versions() {
  sed -n '1s/^# //p' "$root/MANIFEST" 2>/dev/null
  [ -z "$device" ] || (cd "$root" && timeout 60 "$sherd" --version 2>&1 </dev/null)
  ! command -v nvcc >/dev/null || nvcc --version | tail -n 1
  ! command -v compute-sanitizer >/dev/null || compute-sanitizer --version | sed -n 's/.*Version/compute-sanitizer/p'
}

# One row a check, but for the sanitizers: a row for each tool, and for what did not pass.
write_table() {
  local name tool words
  echo "| check | result | seconds | figure | limit | |"
  echo "|---|---|---|---|---|---|"
  for name in "${order[@]}"; do
    case $name:${status[$name]} in memcheck.*:pass | racecheck.*:pass) continue ;; esac
    echo "| $name | ${status[$name]} | ${seconds[$name]} | ${figure[$name]} ${what[$name]} | ${limit[$name]} |" \
      "${detail[$name]//|/ } |"
  done
  for tool in memcheck racecheck; do
    words=$(names_with pass | tr ' ' '\n' | grep -c "^$tool\\.")
    [ "$words" = 0 ] || echo "| $tool: the others | pass | | $words suites without errors | 0 | |"
  done
  printf '\n%s, %s\n' "$(date -u +%F)" "${device:-no GPU ($why)}${cuda:+, CUDA $cuda}"
  versions | sed 's/^/- /'
}

report() {
  local counts
  write_json >"$out/gpu_check.json"
  write_table >"$out/gpu_check.md"
  mkdir -p "$out/losses"
  tar -czf "$out/gpu_check.tar.gz" -C "$out" checks logs losses
  echo
  cat "$out/gpu_check.md"
  echo
  counts="passed $(count pass), failed $(count fail), skipped $(count skipped), left $(count left); $out/gpu_check.json"
  if [ -z "$device" ]; then say "no GPU ($why): all ${#order[@]} checks skipped; $out/gpu_check.json"; exit 0; fi
  if [ "$(count left)" != 0 ]; then say "left: $(names_with left)(call again to go on)"; fi
  if [ "$(count fail)" != 0 ]; then say "failed: $(names_with fail)($counts)"; exit 1; fi
  say "$counts"
  [ "$(count left)" = 0 ] || exit 75
}
