"""A core as a device, which only a new process can choose."""

import math
import os
import subprocess
import sys

import pytest

SCRIPT = """
import jax
from train.cpu import split_cpu
split_cpu({mesh_data}, {batch_size})
print(len(jax.devices('cpu')))
"""


@pytest.mark.parametrize(
  ('mesh_data', 'batch_size', 'chosen', 'found'),
  [
    (-1, 12, '', math.gcd(12, os.cpu_count())),
    (-1, 1, '', 1),
    (1, 12, '', 1),
    (-1, 12, '5', 5),
  ],
)
def test_cores_that_a_batch_divides_over(mesh_data, batch_size, chosen, found):
  environment = dict(os.environ, JAX_PLATFORMS='cpu')
  environment.pop('JAX_NUM_CPU_DEVICES', None)
  if chosen:
    environment['JAX_NUM_CPU_DEVICES'] = chosen
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      SCRIPT.format(mesh_data=mesh_data, batch_size=batch_size),
    ],
    capture_output=True,
    text=True,
    env=environment,
  )
  assert done.stdout == f'{found}\n', done.stderr


@pytest.mark.parametrize(
  ('batch_size', 'machines', 'found'),
  [
    (8, {'a': 4, 'b': 4}, 4),  # each its own
    (8, {'a': 3, 'b': 4}, 1),  # as many as the smallest has, and a batch
    (16, {'a': 8}, 4),  # two processes on one machine
    (2, {'a': 8, 'b': 8}, 1),
    (3, {'a': 8, 'b': 8}, 1),  # which is refused later
  ],
)
def test_several_processes_split_the_cores_of_their_machines(
  batch_size, machines, found
):
  each = 2 // len(machines)
  peers = [(host, cores) for host, cores in machines.items()] * each
  script = SCRIPT.replace(
    '({mesh_data}, {batch_size})',
    f"""(
  -1, {batch_size}, Peers(0, [Peer(*peer) for peer in {peers}]))""",
  )
  script = 'from train.processes.peers import Peer, Peers' + script
  environment = dict(os.environ, JAX_PLATFORMS='cpu')
  environment.pop('JAX_NUM_CPU_DEVICES', None)
  done = subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    text=True,
    env=environment,
  )
  assert done.stdout == f'{found}\n', done.stderr
