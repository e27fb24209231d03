"""A compiled step goes through a file, and into no other run."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs.errors import UserError
from configs.tree import with_overrides
from train import compiled, loop
from train.ahead.job import make_job
from train.mesh.sharding import put_batch

RUN = """
import json, pathlib, sys
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
import numpy as np
from ml_collections import ConfigDict
from tests.train.test_compiled import job_of, losses
from train import compiled
folder = pathlib.Path(sys.argv[1])
job = job_of(ConfigDict(json.loads((folder / 'config.json').read_text())))
lowered = job.lower()
about = job.description()
step = compiled.load(folder / 'step', lowered.train_step, about, job.mesh)
print(json.dumps(losses(job, lowered, step)))
"""


def job_of(config):
  """Over the eight devices."""
  return make_job(config, jax.devices())


def losses(job, lowered, step, count=3):
  """Of so many steps on drawn tokens."""
  draw = np.random.default_rng(0)
  state = lowered.init(jax.random.key(0))
  found = []
  for _ in range(count):
    rows = {
      name: np.ones(shape, dtype)
      for name, (shape, dtype) in job.shape.arrays().items()
    }
    for name in ('tokens', 'targets'):
      rows[name] = draw.integers(0, 300, rows[name].shape, dtype=np.int32)
    batch = put_batch(rows, job.mesh, job.shape.batch_size)
    state, metrics = step(state, batch, np.float32(1e-2), None)
    found += [float(metrics['loss']), float(metrics['grad_norm'])]
  return found


@pytest.fixture(scope='module')
def config(tiny_config):
  return with_overrides(tiny_config, {'mesh.data': 2, 'mesh.fsdp': 4})


@pytest.fixture(scope='module')
def saved(config, tmp_path_factory):
  """The job, its lowered functions, the step, and the folder of the file."""
  folder = tmp_path_factory.mktemp('compiled')
  job = job_of(config)
  lowered = job.lower()
  step = lowered.train_step.compile()
  compiled.save(folder / 'step', step, job.description())
  (folder / 'config.json').write_text(json.dumps(config.to_dict()))
  return job, lowered, step, folder


def test_a_loaded_step_gives_the_same_losses_in_another_process(saved):
  job, lowered, step, folder = saved
  ended = subprocess.run(
    [sys.executable, '-c', RUN, str(folder)],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    check=False,
  )
  assert not ended.returncode, ended.stderr[-2000:]
  here = losses(job, lowered, step)
  assert json.loads(ended.stdout.splitlines()[-1]) == here
  assert here[0] != here[2]  # it has learnt


@pytest.mark.parametrize(
  ('overrides', 'told'),
  [
    ({'model.num_layers': 3}, r'model.num_layers = 2, and this is 3'),
    ({'data.batch_size': 16}, r'batch.batch_size = 8, and this is 16'),
    ({'optimizer.b1': 0.8}, r'optimizer.b1 = 0.9, and this is 0.8'),
    ({'mesh.data': 1, 'mesh.fsdp': 8}, r'mesh.data = 2, and this is 1'),
    (
      {'mesh.strategy': 'zero1'},
      r"placement.strategy = 'fsdp', and this is 'zero1'",
    ),
  ],
)
def test_a_step_of_another_config_is_refused(saved, config, overrides, told):
  job, lowered, _, folder = saved
  other = job_of(with_overrides(config, overrides)).description()
  with pytest.raises(UserError, match=told):
    compiled.load(folder / 'step', lowered.train_step, other, job.mesh)


def test_the_learning_rate_and_the_schedule_are_no_part_of_a_step(
  saved, config
):
  job, *_ = saved
  other = job_of(
    with_overrides(config, {'optimizer.learning_rate': 1.0, 'data.seed': 7})
  )
  assert other.description() == job.description()


def test_a_step_of_another_version_is_refused(saved):
  job, lowered, _, folder = saved
  about = job.description()
  about['versions'] = about['versions'] | {'jaxlib': '0.0.1'}
  with pytest.raises(UserError, match=r'versions.jaxlib = .* this is .0.0.1'):
    compiled.load(folder / 'step', lowered.train_step, about, job.mesh)


def test_a_file_that_is_none_is_told(saved, tmp_path):
  job, lowered, _, folder = saved
  load = lowered.train_step, job.description(), job.mesh
  with pytest.raises(UserError, match='no such file'):
    compiled.load(tmp_path / 'absent', *load)
  (tmp_path / 'other').write_bytes(b'{}\n')
  with pytest.raises(UserError, match='is no compiled step'):
    compiled.load(tmp_path / 'other', *load)
  content = bytearray((folder / 'step').read_bytes())
  content[-100] ^= 1
  (tmp_path / 'broken').write_bytes(content)
  with pytest.raises(UserError, match='is not whole'):
    compiled.load(tmp_path / 'broken', *load)


def test_a_run_takes_it_in_place_of_compiling(config, tmp_path):
  """Over four of the eight devices; what it logs is the same."""
  config = with_overrides(config, {'mesh.fsdp': 2})
  devices = jax.devices()[2:6]
  job = make_job(config, devices)
  step = job.lower().train_step.compile()
  compiled.save(tmp_path / 'step', step, job.description())

  def logged(config, name, compiled_step):
    options = {'devices': devices, 'show_progress': False}
    folder = tmp_path / name
    loop.run(config, folder, compiled_step=compiled_step, **options)
    return (folder / 'metrics.jsonl').read_bytes()

  file = str(tmp_path / 'step')
  assert logged(config, 'taken', file) == logged(config, 'compiled', '')
  other = with_overrides(config, {'optimizer.b1': 0.8})
  with pytest.raises(UserError, match=r'was compiled for optimizer\.b1 = 0\.9'):
    logged(other, 'other', file)
  assert not (tmp_path / 'other').exists()
