"""A run on spot slices, against a cloud that is made up."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Tells the next state at each question; its machine is a folder.
GCLOUD = r"""#!/bin/bash
echo "$*" | head -1 >>"$CALLS"
case "$*" in
  *describe*)
    head -1 "$STATES"
    sed -i '1{$!d}' "$STATES"
    ;;
  *create*) echo ACTIVE >"$STATES" ;;
  *scp*) cp "$5" "$MACHINE" ;;
  *ssh*)
    for argument; do
      case "$argument" in --command=*) command="${argument#*=}" ;; esac
    done
    cd "$MACHINE" && bash -c "$command"
    ;;
esac
"""

# Packs the restart script, and a .venv whose Python does as it is told.
GIT = r"""#!/bin/bash
cd "$(mktemp -d)" && mkdir -p tpu .venv/bin
cp "$ROOT/tpu/restart.sh" tpu
printf '#!/bin/bash\n' >tpu/setup.sh
printf '#!/bin/bash\n%s\n' "$PYTHON_DOES" >.venv/bin/python
chmod +x tpu/setup.sh .venv/bin/python
tar -czf "${3#--output=}" tpu .venv
"""


@pytest.fixture
def spot(tmp_path):
  """Calls the script; what it asked the cloud for is in its `calls`."""
  for name, script in (('gcloud', GCLOUD), ('git', GIT)):
    (tmp_path / name).write_text(script)
    (tmp_path / name).chmod(0o755)
  machine, calls = tmp_path / 'machine', tmp_path / 'calls'
  machine.mkdir()

  def call(states, python_does, *arguments, **changed):
    (tmp_path / 'states').write_text('\n'.join(states) + '\n')
    calls.write_text('')
    settings = {
      'PATH': f'{tmp_path}:{os.environ["PATH"]}',
      'ROOT': str(ROOT),
      'CALLS': str(calls),
      'STATES': str(tmp_path / 'states'),
      'MACHINE': str(machine),
      'PYTHON_DOES': python_does,
      'RESTART_SECONDS': '0',
      'SPOT_SECONDS': '0',
      'NAME': 'nest',
      'ZONE': 'z',
      'TYPE': 'v5litepod-16',
      'VERSION': 'v2-alpha-tpuv5-lite',
      'WORKDIR': 'runs/8b',
    }
    done = subprocess.run(
      [ROOT / 'tpu/spot.sh', *arguments],
      env=os.environ | settings | changed,
      capture_output=True,
      text=True,
      timeout=60,
    )
    call.asked = calls.read_text().splitlines()
    call.told = done.stderr
    return done.returncode

  call.machine = machine
  return call


FINISHES = 'mkdir -p runs/8b && touch runs/8b/done.json && echo "$@" >args'


def test_a_slice_is_made_and_the_run_finishes(spot):
  assert spot([''], FINISHES, '-m', 'a b', "--c='d'") == 0
  created = next(call for call in spot.asked if 'create' in call)
  for said in ('nest', '--spot', '--accelerator-type=v5litepod-16', '--zone=z'):
    assert said in created
  arguments = (spot.machine / 'scalenest/args').read_text()
  assert arguments == "-m a b --c='d'\n"
  assert sum('--worker=all' in call for call in spot.asked) == 2


def test_a_slice_that_is_there_is_used(spot):
  assert (
    spot(['WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'], FINISHES) == 0
  )
  assert not any('create' in call for call in spot.asked)


def test_one_that_was_taken_away_is_made_anew(spot):
  assert spot(['SUSPENDED'], FINISHES) == 0
  asked = ' '.join(spot.asked)
  assert asked.index('delete nest --force') < asked.index('create nest')


def test_one_that_cannot_be_had_is_told(spot):
  assert spot(['ACCEPTED', 'FAILED'], FINISHES) == 1
  assert 'the slice is FAILED' in spot.told


def test_a_mistake_comes_back_as_one(spot):
  assert spot(['ACTIVE'], 'exit 2') == 2


def test_what_is_stopped_before_its_end_is_not_finished(spot):
  assert spot(['ACTIVE'], 'exit 0') == 75


def test_a_loop_that_is_killed_is_no_mistake(spot):
  assert spot(['ACTIVE'], 'kill -9 $PPID') == 137


def test_what_is_not_set_is_named(spot):
  assert spot(['ACTIVE'], FINISHES, ZONE='') == 2
  assert spot.told == 'error: set ZONE\n'
