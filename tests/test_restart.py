"""What runs a command again, and when it does not."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Ends with the codes it is told, one after the other, and notes each call.
FAKE = """#!/bin/bash
echo "$@" >>"$CALLS"
codes=($CODES)
exit "${codes[$(($(wc -l <"$CALLS") - 1))]}"
"""

# As a run does: saves when it is asked to stop, and ends with 0.
SAVES = """#!/bin/bash
trap 'echo "saved on $1" >>"$CALLS"; exit 0' TERM INT
echo started >>"$CALLS"
while :; do sleep 0.05; done
"""


@pytest.fixture
def restart(tmp_path):
  """Starts the script around a command; its calls are in a file."""
  calls = tmp_path / 'calls'
  calls.touch()
  command = tmp_path / 'command'

  def start(script, *arguments, **environment):
    command.write_text(script)
    command.chmod(0o755)
    settings = {'CALLS': str(calls), 'RESTART_SECONDS': '0'} | environment
    return subprocess.Popen(
      [str(ROOT / 'tpu/restart.sh'), str(command), *arguments],
      env=os.environ | settings,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  start.calls = lambda: calls.read_text().splitlines()
  return start


def test_a_command_that_fails_twice_is_run_three_times(restart):
  process = restart(FAKE, '--workdir=a b', CODES='1 3 0')
  _, told = process.communicate(timeout=20)
  assert process.returncode == 0
  assert restart.calls() == ['--workdir=a b'] * 3
  assert told.splitlines() == [
    'ended with 1; runs again in 0 s',
    'ended with 3; runs again in 0 s',
  ]


def test_a_mistake_is_not_repeated(restart):
  process = restart(FAKE, CODES='137 2 0')
  process.communicate(timeout=20)
  assert process.returncode == 2
  assert len(restart.calls()) == 2


def test_it_gives_up_in_the_end(restart):
  process = restart(FAKE, CODES='1 1 1 1 1', RESTART_TIMES='2')
  _, told = process.communicate(timeout=20)
  assert process.returncode == 1
  assert len(restart.calls()) == 3
  assert told.splitlines()[-1] == 'error: ended with 1, and not run again'


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
def test_who_asks_it_to_stop_asks_the_command_once(restart, how):
  process = restart(SAVES, 'x')
  deadline = time.monotonic() + 20
  while not restart.calls() and time.monotonic() < deadline:
    time.sleep(0.02)
  process.send_signal(how)
  process.communicate(timeout=20)
  assert process.returncode == 0
  assert restart.calls() == ['started', 'saved on x']


def test_it_stops_while_it_waits_to_run_again(restart):
  process = restart(FAKE, CODES='1 0', RESTART_SECONDS='60')
  assert process.stderr.readline().startswith('ended with 1; runs again')
  process.terminate()
  process.communicate(timeout=20)
  assert process.returncode == 1
  assert len(restart.calls()) == 1


def test_what_is_not_done_is_not_finished(restart, tmp_path):
  done = tmp_path / 'done.json'
  settings = {'CODES': '0 0 0', 'RESTART_TIMES': '1', 'RESTART_DONE': str(done)}
  process = restart(FAKE, **settings)
  process.communicate(timeout=20)
  assert process.returncode == 75
  assert len(restart.calls()) == 2
  done.touch()
  process = restart(FAKE, **settings)
  process.communicate(timeout=20)
  assert process.returncode == 0
  assert len(restart.calls()) == 3


def test_it_needs_a_command():
  done = subprocess.run(
    [ROOT / 'tpu/restart.sh'], capture_output=True, text=True
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: usage')
