#!/usr/bin/env bash
# `make test`: every level, fast ones first, stopping at the first that fails; a summary at the end in any case.
# Levels that this machine cannot run are named in the last lines, never passed over in silence.
set -uo pipefail
cd "$(dirname "$0")/.."
make=${MAKE:-make}
summary=() failed=""
began=$SECONDS

level() { # level NAME COMMAND...
  local name=$1 start=$SECONDS log
  shift
  if [ -n "$failed" ]; then summary+=("$(printf '%-10s not run, because %s failed' "$name" "$failed")"); return; fi
  log=$(mktemp)
  printf '\n=== %s\n' "$name"
  if "$@" 2>&1 | tee "$log"; then
    summary+=("$(printf '%-10s ok      %5d s   %s' "$name" $((SECONDS - start)) "$(grep -E '[0-9]+ passed' "$log" | tail -n 1)")")
  else
    failed=$name
    summary+=("$(printf '%-10s FAILED  %5d s   %s' "$name" $((SECONDS - start)) "$(grep -E '[0-9]+ (failed|passed|error)' "$log" | tail -n 1)")")
  fi
  rm -f "$log"
}

skip() { summary+=("$(printf '%-10s NOT RUN HERE: %s' "$1" "$2")"); }

clean_up() { [ "$(id -u)" = 0 ] && [ -x .venv/bin/python ] && .venv/bin/python -m devcluster down; }

level verify "$make" -s verify
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
  skip monitoring "needs Debian's prometheus, and root to install it"
else
  level monitoring "$make" -s monitoring
fi
level trainer "$make" -s trainer
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
  skip trainer "some tests of it (another user's volume, a full disk) need root"
  skip devcluster "needs Linux and root, for network namespaces"
  skip cluster "needs Linux and root, for network namespaces"
  skip e2e "needs Linux and root, for kubelets"
else
  unset CLUSTER # the tests bring up a cluster of their own, never the user's
  trap clean_up EXIT
  level devcluster "$make" -s devcluster-test
  level cluster "$make" -s cluster-test
  level e2e "$make" -s e2e
fi

printf '\n=== summary (%d s in all)\n' $((SECONDS - began))
printf '%s\n' "${summary[@]}"
if [ -n "$failed" ]; then exit 1; fi
