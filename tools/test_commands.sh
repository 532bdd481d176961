#!/bin/bash
# test_commands.sh BUILD [LABEL]: what ctest would run in the build folder BUILD, of all tests or of those with a label that
# matches: one a line, with tabs between name, labels (a,b; or -), and the words of the command.
set -eu
[ $# -ge 1 ] || { sed -n '2,3p' "$0"; exit 2; }

ctest --test-dir "$1" -N -V ${2:+-L "$2"} | awk -v OFS='\t' '
  / Test command: / {
    sub(/^[0-9]+: Test command: /, "")
    count = split($0, word, " \"")  # the program as it is, then each argument in quotes
    command = word[1]
    for (i = 2; i <= count; i++) { sub(/"$/, "", word[i]); command = command OFS word[i] }
    labels = "-"
  }
  /^Labels: / { labels = substr($0, 9); gsub(/ /, ",", labels) }
  /^ *Test +#[0-9]+: / { sub(/^ *Test +#[0-9]+: /, ""); print $0, labels, command }'
