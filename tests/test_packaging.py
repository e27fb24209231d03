"""What setup.py, the lock, the Makefile and CI promise each other."""

import ast
import importlib.metadata
import os
import pathlib
import re
import runpy
import subprocess
import sys
import tomllib
import types
import warnings

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
EXTRAS = {
  'test',
  'audit',
  'fast',
  'hf_datasets',
  'sentencepiece',
  'cuda',
  'tpu',
  'tf',
  'hf',
  'lm_eval',
  'ray',
  'slurm',
  'energy',
  'gcs',
  'int8',
  'plotly',
  'wandb',
  'colab',
}


@pytest.fixture(scope='module')
def declared():
  """The arguments that setup.py gives to setuptools."""
  given = {}
  fake = types.SimpleNamespace(setup=given.update)
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, 'setuptools', fake)
    runpy.run_path(str(ROOT / 'setup.py'))
  return given


@pytest.fixture(scope='module')
def lock():
  """Version by name."""
  lines = (ROOT / 'requirements.lock').read_text().splitlines()
  return dict(line.split('==') for line in lines if not line.startswith('#'))


def test_packages_are_the_folders(declared):
  folders = {path.parent.name for path in ROOT.glob('*/__init__.py')}
  nested = {
    '.'.join(path.parent.relative_to(ROOT).parts)
    for path in ROOT.glob('*/*/__init__.py')
    if not path.is_relative_to(ROOT / 'tests')
  }
  tools = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']
  assert set(declared['packages']) == folders | nested
  assert set(tools['mypy']['packages']) == folders
  assert set(tools['importlinter']['root_packages']) == folders


def test_files_beside_the_code_are_declared(declared):
  for package in declared['packages']:
    folder = ROOT / package.replace('.', '/')
    patterns = ['*.py', *declared['package_data'].get(package, [])]
    found = {path for p in patterns for path in folder.glob(p)}
    there = {path for path in folder.iterdir() if path.is_file()}
    assert there == found


def test_extras_are_declared(declared):
  assert set(declared['extras_require']) == EXTRAS


def test_every_import_is_declared(declared):
  groups = [declared['install_requires'], *declared['extras_require'].values()]
  known = {canonicalize_name(Requirement(r).name) for g in groups for r in g}
  homes = importlib.metadata.packages_distributions()
  for path in [p for name in declared['packages'] for p in _sources(name)]:
    for module in _imported(path) - set(declared['packages']):
      if module not in sys.stdlib_module_names:
        names = map(canonicalize_name, homes.get(module, [module]))
        assert known & set(names), f'{path}: {module} is not in setup.py'


def test_the_lock_is_names_and_versions_alone(lock):
  lines = (ROOT / 'requirements.lock').read_text().splitlines()
  for line in lines:
    assert re.fullmatch(r'#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+', line)
  names = [canonicalize_name(name) for name in lock]
  assert len(names) == len(set(names)) > 50


def test_the_lock_is_within_the_ranges(declared, lock):
  versions = {canonicalize_name(name): v for name, v in lock.items()}
  extras = declared['extras_require']
  for text in [*declared['install_requires'], *extras['test']]:
    wanted = Requirement(text)
    assert versions[canonicalize_name(wanted.name)] in wanted.specifier


def test_the_licence_is_there(declared):
  text = (ROOT / 'LICENSE').read_text()
  assert 'Apache License' in text
  assert 'Version 2.0, January 2004' in text
  assert declared['license'] == 'Apache-2.0'


def test_ci_runs_what_the_readme_says():
  script = ROOT / '.ci/run'
  assert os.access(script, os.X_OK)
  assert 'make lint\n' in script.read_text()
  assert 'make test\n' in script.read_text()
  assert '`make test`' in (ROOT / 'README.md').read_text()


def test_warnings_of_our_modules_are_errors(pytestconfig):
  (line,) = pytestconfig.getini('filterwarnings')
  action, *_, module = line.split(':')

  def warn(where):
    with warnings.catch_warnings():
      warnings.filterwarnings(action, module=module)
      warnings.warn_explicit('hm', UserWarning, 'file.py', 1, module=where)

  for ours in ('data', 'data.corpus', 'train.loop'):
    with pytest.raises(UserWarning):
      warn(ours)
  for other in ('dataclasses', 'models', 'tests.data.test_corpus', 'jax.data'):
    with pytest.warns(UserWarning):
      warn(other)


# Stands for Python: notes what it is asked, and makes a .venv of itself.
FAKE_PYTHON = """#!/bin/bash
echo "$@" >>"$CALLS"
case "$*" in
  "-m venv"*) mkdir -p "$3/bin" && cp "$FAKE" "$3/bin/python" ;;
  *constraint*) echo "$CONSTRAINT" ;;
  "-m pip install"*) exit "${PIP_EXIT:-0}" ;;
esac
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
  """Calls make beside a Python that only notes its calls, and returns them."""
  for name in ('Makefile', 'setup.py', 'requirements.lock'):
    (tmp_path / name).write_bytes((ROOT / name).read_bytes())
  fake, calls = tmp_path / 'python', tmp_path / 'calls'
  fake.write_text(FAKE_PYTHON)
  fake.chmod(0o755)
  monkeypatch.setenv('FAKE', str(fake))
  monkeypatch.setenv('CALLS', str(calls))
  monkeypatch.delenv('MAKEFLAGS', raising=False)

  def call(*arguments, python=fake, fails=False, **environment):
    calls.write_text('')
    done = subprocess.run(
      ['make', f'PYTHON={python}', *arguments],
      cwd=tmp_path,
      env=os.environ | environment,
      capture_output=True,
      text=True,
    )
    assert (done.returncode != 0) == fails, done.stderr
    call.stderr = done.stderr
    lines = calls.read_text().splitlines()
    return [line for line in lines if not line.startswith('-c')]

  return call


def test_make_installs_once_and_again_when_the_lock_changes(make, tmp_path):
  locked = '--constraint=requirements.lock'
  install = f'-m pip install {locked} --editable .'
  study = '-m study.run --config=configs/study.py:pocket --workdir=runs/pocket'
  first = make('study', CONSTRAINT=locked)
  assert first[-3:] == ['-m venv .venv', install, study]
  assert make('study', CONSTRAINT=locked) == [study]
  os.utime(tmp_path / 'requirements.lock', (2**31, 2**31))
  again = make('study', CONSTRAINT=locked)
  assert install in again
  assert '-m venv .venv' not in again


def test_make_test_installs_its_extra_without_the_lock_elsewhere(make):
  calls = make('test', CONSTRAINT='')
  assert calls[-2:] == ['-m pip install --editable .[test]', '-m pytest -n 2']
  assert make('test-long')[-1] == '-m pytest -m long'
  assert make('install', 'EXTRAS=cuda')[-1].endswith('--editable .[cuda]')
  assert make('install')[-1].endswith('--editable .')


def test_make_starts_anew_after_a_broken_install(make, tmp_path):
  make('study', PIP_EXIT='1', fails=True)
  (tmp_path / '.venv/half').touch()
  assert '-m venv .venv' in make('study')
  assert not (tmp_path / '.venv/half').exists()


def test_make_fills_a_half_made_environment(make, tmp_path):
  (tmp_path / '.venv/bin').mkdir(parents=True)
  assert '-m venv .venv' in make('study')


def test_make_names_the_python_it_needs_in_one_line(make):
  make('study', python='false', fails=True)
  first, second = make.stderr.splitlines()
  assert first.startswith('error: Scalenest needs Python 3.11 or newer')
  assert 'make PYTHON=python3.11 study' in first
  # With a level where make runs these tests itself.
  assert re.match(r'make(\[\d+\])?: \*\*\*', second)


def _sources(package):
  return (ROOT / package.replace('.', '/')).glob('*.py')


def _imported(path):
  """Top-level names of the absolute imports of a file."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name.partition('.')[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and not node.level:
      names.add((node.module or '').partition('.')[0])
  return names
