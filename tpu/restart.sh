#!/bin/bash
# Runs a command until it is through, on machines that fail or are taken away:
#
#   tpu/restart.sh .venv/bin/python -m train.pretrain --config=... --workdir=...
#
# Ends with the command's exit code when that is 0 (finished, or stopped on
# request, with all saved) or 2 (a mistake, which would be made again); ends,
# too, once it is asked to stop itself. After any other code it waits for
# RESTART_SECONDS (10) and runs the command again, at most RESTART_TIMES (100)
# times. RESTART_DONE names a file that a finished run leaves: without it, 0
# counts as 75.
set -um

if [ $# -eq 0 ]; then
  echo 'error: usage: tpu/restart.sh COMMAND [ARGUMENT...]' >&2
  exit 2
fi

asked=
child=
pass_on() {
  asked=1
  kill "-$1" "$child" 2>/dev/null
}
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT

for ((left = ${RESTART_TIMES:-100}; ; left--)); do
  "$@" &
  child=$!
  [ "$asked" ] && pass_on TERM  # it came before there was whom to pass it on to
  # A signal ends the waiting, not the command.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child" 2>/dev/null
  done
  wait "$child" 2>/dev/null
  code=$?
  if [ "$code" -eq 0 ] && [ "${RESTART_DONE:-}" ] && [ ! -e "$RESTART_DONE" ]
  then
    code=75
  fi
  if [ "$code" -eq 0 ] || [ "$code" -eq 2 ] || [ "$asked" ]; then
    exit "$code"
  fi
  if [ "$left" -eq 0 ]; then
    echo "error: ended with $code, and not run again" >&2
    exit "$code"
  fi
  echo "ended with $code; runs again in ${RESTART_SECONDS:-10} s" >&2
  for ((second = 0; second < ${RESTART_SECONDS:-10}; second++)); do
    sleep 1 &
    wait $!
    [ "$asked" ] && exit "$code"
  done
done
