# shellcheck shell=sh
# `. env.sh` in the folder of the bundle, or BUNDLE=/path/to/it; . $BUNDLE/env.sh: the programs come first in PATH, and the
# jobs find them. Nothing else is set: bin/run sets for each program what it needs. Not needed for bin/sherd by its path.
BUNDLE=$(cd "${BUNDLE:-.}" && pwd)
if [ -x "$BUNDLE/bin/sherd" ]; then
  export BUNDLE PATH="$BUNDLE/bin:$PATH" SHERD="$BUNDLE/bin/sherd" SHERD_ROOT="$BUNDLE"
  export SHERD_FETCH="$BUNDLE/bin/sherd-fetch" SHERD_GAMES="$BUNDLE/bin/sherd-games"
else
  echo "env.sh: $BUNDLE is not the bundle's folder; set BUNDLE to it" >&2
fi
