"""The README's sweep runs; commands, keys and links of the pages exist."""

import ast
import functools
import importlib
import importlib.util
import math
import pathlib
import re
import subprocess

import jax
import pytest
import yaml

from configs import pretrain
from configs.command import EXIT_USER_ERROR
from configs.tree import flatten, to_dataclass, with_overrides
from study.config import study_config
from train import loop
from train.config import RunConfig
from train.workdir import read_done

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / 'README.md').read_text()
PAGES = [ROOT / 'README.md', ROOT / 'docs/training.md']


def _commands():
  """Every `python -m ...` as (module, {flag: value})."""
  pages = [*PAGES, ROOT / 'tpu/jobset.yaml', ROOT / 'tpu/spot.sh']
  text = '\n'.join(page.read_text() for page in pages)
  joined = text.replace('\\\n', ' ')
  for line in re.findall(r'(?:python|spot\.sh) +-m ([^`\n]*)', joined):
    module, *arguments = line.split()
    flags = (a.removeprefix('--').partition('=') for a in arguments)
    yield module, {flag: value.strip("'") for flag, _, value in flags}


COMMANDS = list(_commands())


def test_the_sweep_runs(tiny_config, tmp_path, monkeypatch):
  (block,) = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
  short = with_overrides(tiny_config, {'train.num_steps': 12})
  one_device = functools.partial(loop.make_mesh, devices=jax.devices()[:1])
  monkeypatch.setattr(pretrain, 'get_config', lambda size: short)
  monkeypatch.setattr(loop, 'make_mesh', lambda c, devices: one_device(c))
  monkeypatch.chdir(tmp_path)
  exec(block, {})
  results = [read_done(path) for path in sorted(tmp_path.glob('runs/sweep/*'))]
  assert [result['step'] for result in results] == [12] * 4
  assert len({r['metrics']['validation_loss'] for r in results}) == 4


def test_there_are_commands():
  modules = {module for module, _ in COMMANDS}
  assert modules >= {'train.pretrain', 'evals.run', 'finetune.run', 'study.run'}


@pytest.mark.parametrize('module, flags', COMMANDS)
def test_a_command_exists_with_its_flags(module, flags):
  spec = importlib.util.find_spec(module)
  assert spec is not None, module
  if (
    spec.submodule_search_locations is not None
  ):  # a package, such as the audit
    spec = importlib.util.find_spec(f'{module}.__main__')
  source = pathlib.Path(spec.origin).read_text()
  assert "if __name__ == '__main__':" in source
  if 'source.define_flags()' in source:  # shared by the commands of laws
    source += (ROOT / 'scaling/source.py').read_text()
  for flag in flags:
    name = re.escape(flag.partition('.')[0])
    assert re.search(rf"DEFINE_\w+\(\s*'{name}'", source), flag


@pytest.mark.parametrize('module, flags', COMMANDS)
def test_a_command_has_a_config_that_can_work(module, flags):
  if 'config' not in flags:
    return
  path, _, argument = flags['config'].partition(':')
  name = path.removesuffix('.py').replace('/', '.')
  config = importlib.import_module(name).get_config(argument or None)
  overrides = {
    flag.removeprefix('config.'): _value(text)
    for flag, text in flags.items()
    if flag.startswith('config.')
  }
  config = with_overrides(config, overrides)
  if module == 'train.pretrain':
    to_dataclass(RunConfig, config)
  if module == 'study.run':
    study_config(config)


def test_every_config_key_in_the_text_is_one():
  base = pretrain.get_config()
  named = rf'`((?:{"|".join(base)})\.\w[\w.]*)'
  for page in PAGES:
    text = page.read_text()
    for key, value in re.findall(r'`--config\.([\w.]+)=([^`]+)`', text):
      if key != 'mode':  # of configs/finetune.py
        with_overrides(base, {key: _value(value.strip("'"))})
    for key in re.findall(named, text):
      assert key in flatten(base) or importlib.util.find_spec(key), key


def test_every_make_target_and_link_exists():
  targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M)
  for page in PAGES:
    text = page.read_text()
    for line in re.findall(r'(?:^|`)make ([^`\n]+)', text, re.M):
      words = [word for word in line.split() if '=' not in word]
      assert set(words) <= set(targets), line
    links = re.findall(r'\]\(([^)]+)\)', text)
    assert links
    for link in links:
      assert link.startswith('https://') or (page.parent / link).exists(), link


def test_the_job_of_slurm_is_a_script(tmp_path):
  (script,) = re.findall(
    r'```sbatch\n(.*?)```', PAGES[1].read_text(), re.DOTALL
  )
  subprocess.run(['bash', '-n', '-c', script], check=True)
  options = dict(re.findall(r'^#SBATCH --([\w-]+)=?(.*)$', script, re.M))
  assert options['ntasks-per-node'] == options['gpus-per-node']


def test_the_job_set_runs_one_process_for_each_machine():
  (job,) = yaml.safe_load((ROOT / 'tpu/jobset.yaml').read_text())['spec'][
    'replicatedJobs'
  ]
  spec = job['template']['spec']
  pod = spec['template']['spec']
  (container,) = pod['containers']
  chips = container['resources']['limits']['google.com/tpu']
  topology = pod['nodeSelector']['cloud.google.com/gke-tpu-topology']
  machines = math.prod(map(int, topology.split('x'))) // chips
  assert spec['parallelism'] == spec['completions'] == machines
  # What has no need to be repeated is told apart by its code.
  (rule,) = spec['podFailurePolicy']['rules']
  assert rule['onExitCodes']['values'] == [EXIT_USER_ERROR]
  mounts = {mount['mountPath'] for mount in container['volumeMounts']}
  assert mounts == {'/run/nest', '/run/cache'}


def _value(text):
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text
