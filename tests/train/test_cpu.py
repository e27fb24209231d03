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
