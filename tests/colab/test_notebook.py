"""The notebook runs from top to bottom, and goes on after a disconnect."""

import pathlib
import signal

import jax
import nbclient
import nbformat
import pytest

from configs import pretrain
from configs.tree import flatten, with_overrides
from train import loop, metrics

ROOT = pathlib.Path(__file__).parents[2]
PATH = ROOT / 'colab/scalenest.ipynb'
STOPPED_AT = 8


@pytest.fixture
def notebook():
  return nbformat.read(PATH, as_version=4)


@pytest.fixture
def overrides(tiny_config):
  """Overrides that make any config the tiny one."""
  return {k: v for k, v in flatten(tiny_config).items() if k != 'name'}


def test_it_is_valid_and_stores_no_outputs(notebook):
  nbformat.validate(notebook)
  assert notebook.metadata.kernelspec.name == 'python3'
  code = [cell for cell in notebook.cells if cell.cell_type == 'code']
  assert code[0].metadata.tags == ['parameters']
  for cell in code:
    assert cell.outputs == []
    assert cell.execution_count is None


def test_its_settings_are_of_the_config(notebook):
  settings = {}
  exec(_code(notebook)[0].source, settings)
  with_overrides(pretrain.get_config(settings['SIZE']), settings['OVERRIDES'])


def test_it_goes_on_where_a_disconnected_run_stopped(
  notebook, overrides, tmp_path, monkeypatch
):
  workdir = tmp_path / 'run'
  _run_until_stopped(overrides, workdir, monkeypatch)
  settings, *rest = _code(notebook)
  settings.source += (
    f'\nOVERRIDES = {overrides!r}\nWORKDIR = {str(workdir)!r}'
    "\nTASKS = ['heldout']"
  )
  _execute(notebook, tmp_path, monkeypatch)
  _, train, resume, evaluate, plot = rest
  assert f'starting from step {STOPPED_AT} of' in _printed(train)
  assert 'finished at step 40' in _printed(train)
  assert 'validation_loss' in _printed(resume)
  assert 'heldout loss' in _printed(evaluate)
  assert any('image/png' in o.get('data', {}) for o in plot.outputs)
  lines = metrics.read_metrics(workdir / metrics.METRICS)
  steps = [line['step'] for line in lines if 'loss' in line]
  assert steps == list(range(1, 41))


def _code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def _run_until_stopped(overrides, workdir, monkeypatch):
  """Runs the notebook's config until a Ctrl-C in the middle."""

  def interrupting(optimizer, schedule, step, num_steps):
    if step == STOPPED_AT - 1:
      signal.raise_signal(signal.SIGINT)
    return original(optimizer, schedule, step, num_steps)

  original = loop.learning_rate
  with monkeypatch.context() as patch:
    patch.setattr(loop, 'learning_rate', interrupting)
    result = loop.run(
      with_overrides(pretrain.get_config('nest-12k'), overrides),
      workdir,
      devices=jax.devices()[:1],
      show_progress=False,
    )
  assert (result.finished, result.step) == (False, STOPPED_AT)


def _execute(notebook, folder, monkeypatch):
  """Runs all cells in a kernel of its own that finds nothing but the code."""
  for name in ('HOME', 'IPYTHONDIR', 'JUPYTER_RUNTIME_DIR', 'MPLCONFIGDIR'):
    monkeypatch.setenv(name, str(folder / 'home'))
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')  # compile fast
  nbclient.NotebookClient(
    notebook,
    timeout=120,
    kernel_name='python3',
    resources={'metadata': {'path': str(folder)}},
  ).execute()


def _printed(cell):
  return ''.join(o.text for o in cell.outputs if o.output_type == 'stream')
