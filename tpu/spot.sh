#!/bin/bash
# Runs a command on a slice of spot TPUs, made if it is not there, from a clone
# on your own machine. Around it, tpu/restart.sh makes a new slice whenever one
# is taken away:
#
#   export NAME=nest ZONE=us-west4-a
#   export TYPE=v5litepod-16 VERSION=v2-alpha-tpuv5-lite
#   export WORKDIR=runs/8b
#   RESTART_TIMES=1000 tpu/restart.sh tpu/spot.sh \
#     -m train.pretrain --config=... --workdir=$WORKDIR --distributed=tpu \
#     --config.checkpoint.folder=gs://BUCKET/8b
#
# Ends with 0 when WORKDIR is that of a finished run, and with 2 after a
# mistake; the slice stays, for you to delete:
#
#   gcloud compute tpus queued-resources delete $NAME --zone=$ZONE --force
set -u
for name in NAME ZONE TYPE VERSION WORKDIR; do
  [ "${!name:-}" ] || { echo "error: set $name" >&2; exit 2; }
done

slices() { gcloud compute tpus queued-resources "$@" "--zone=$ZONE" --quiet; }
state() { slices describe "$NAME" '--format=value(state.state)' 2>/dev/null; }
on() {
  gcloud compute tpus tpu-vm ssh "$NAME" "--zone=$ZONE" --quiet \
    "--worker=$1" "--command=$2"
}

case "$(state)" in
  ACTIVE | PROVISIONING | WAITING_FOR_RESOURCES | CREATING | ACCEPTED) ;;
  *)
    slices delete "$NAME" --force >/dev/null 2>&1
    slices create "$NAME" --node-id="$NAME" --accelerator-type="$TYPE" \
      --runtime-version="$VERSION" --spot || exit
    ;;
esac
until found=$(state) && [ "$found" = ACTIVE ]; do
  case "$found" in
    FAILED | SUSPENDING | SUSPENDED)
      echo "the slice is $found" >&2
      exit 1
      ;;
  esac
  sleep "${SPOT_SECONDS:-30}"
done

archive=$(mktemp -d)/scalenest.tar.gz
git archive --format=tar.gz --output="$archive" HEAD || exit 2
gcloud compute tpus tpu-vm scp "$archive" "$NAME:" "--zone=$ZONE" --quiet \
  --worker=all || exit 1
rm "$archive"

# What `ssh` ends with on several machines is no matter of theirs, so that each
# of them writes it down.
on all "mkdir -p scalenest && tar -xzf scalenest.tar.gz -C scalenest &&
  cd scalenest && rm -f code && tpu/setup.sh &&
  { tpu/restart.sh .venv/bin/python $(printf '%q ' "$@"); echo \$? >code; }"
on 0 "cd scalenest && { [ -e $WORKDIR/done.json ] ||
  exit \$(sed 's/^0$/75/' code || echo 1); }"
