#!/usr/bin/env bash
# `make test`: every level, fast ones first, stopping at the first that fails; a summary at the end in any case.
# Levels that this machine cannot run are named in the last lines, never passed over in silence.
set -uo pipefail
cd "$(dirname "$0")/.."
make=${MAKE:-make}
summary=() failed="" beside_pid=""
began=$SECONDS

level() { # level NAME COMMAND...
  local name=$1 start=$SECONDS log code=0
  shift
  if [ -n "$failed" ]; then summary+=("$(printf '%-10s not run, because %s failed' "$name" "$failed")"); return; fi
  log=$(mktemp)
  printf '\n=== %s\n' "$name"
  "$@" 2>&1 | tee "$log" || code=$?
  ended "$name" "$code" "$start" "$log"
}

ended() { # ended NAME CODE START LOG
  local word=ok
  if [ "$2" != 0 ]; then word=FAILED failed=${failed:-$1}; fi
  summary+=("$(printf '%-10s %-6s  %5d s   %s' "$1" "$word" $((SECONDS - $3)) "$(grep -E '[0-9]+ (failed|passed|error)' "$4" | tail -n 1)")")
  rm -f "$4"
}

# One level may run beside others: the trainer's is arithmetic, the cluster's mostly waits.
beside() { # beside NAME COMMAND...
  beside=$1 beside_start=$SECONDS beside_log=$(mktemp)
  shift
  if [ -n "$failed" ]; then return; fi
  setsid nice -n 5 "$@" >"$beside_log" 2>&1 &
  beside_pid=$!
}

joined() {
  local code=0
  if [ -n "$failed" ]; then summary+=("$(printf '%-10s not run to its end, because %s failed' "$beside" "$failed")"); return; fi
  printf '\n=== %s, which ran beside\n' "$beside"
  wait "$beside_pid" || code=$?
  beside_pid=""
  cat "$beside_log"
  ended "$beside" "$code" "$beside_start" "$beside_log"
}

skip() { summary+=("$(printf '%-10s NOT RUN HERE: %s' "$1" "$2")"); }

clean_up() {
  if [ -n "$beside_pid" ]; then kill -- "-$beside_pid"; fi
  if [ "$(id -u)" = 0 ] && [ -x .venv/bin/python ]; then .venv/bin/python -m devcluster down; fi
}
level verify "$make" -s verify
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
  skip monitoring "needs Debian's prometheus, and root to install it"
else
  level monitoring "$make" -s monitoring
fi
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
  level trainer "$make" -s trainer
  skip trainer "some tests of it (another user's volume, a full disk) need root"
  skip devcluster "needs Linux and root, for network namespaces"
  skip cluster "needs Linux and root, for network namespaces"
  skip e2e "needs Linux and root, for kubelets"
else
  unset CLUSTER # the tests bring up a cluster of their own, never the user's
  trap clean_up EXIT
  trap 'exit 143' TERM INT
  level devcluster "$make" -s devcluster-test
  beside trainer "$make" -s trainer
  level cluster "$make" -s cluster-test
  joined
  level e2e "$make" -s e2e
fi

printf '\n=== summary (%d s in all)\n' $((SECONDS - began))
printf '%s\n' "${summary[@]}"
if [ -n "$failed" ]; then exit 1; fi
