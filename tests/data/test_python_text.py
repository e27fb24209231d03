import ast
import inspect
import json
import re
from pathlib import Path

import pytest
import tqdm

from configs.errors import UserError
from data import python_text


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A package with one of everything; its name is 'odd_package'."""
  root = tmp_path / 'odd_package'
  for folder in ('', 'inner', 'tests'):
    (root / folder).mkdir(exist_ok=True)
  (root / '__init__.py').write_text('"""  Top.\n\n    Indented.\n  """\n')
  (root / 'inner' / 'a.py').write_text(
    '"""Module a."""\n'
    'class C:\n'
    '  "Class C."\n'
    '  async def f(self):\n'
    '    """Method f."""\n'
    '    def g():\n'
    "      '''Function g.'''\n"
    'if True:\n'
    '  def late(): """Under if."""\n'
    'try:\n'
    '  pass\n'
    'except Exception:\n'
    '  def caught(): """Under except."""\n'
    'def silent(): return "no docstring"\n'
    'def again(): """Module a."""\n'
    'def odd(): """Half \\ud800 a pair."""\n'
  )
  (root / 'bad.py').write_text('def (:\n')
  (root / 'binary.py').write_bytes(b'x = "\xff\xfe"\n')
  (root / 'latin.py').write_bytes(b'# -*- coding: latin-1 -*-\n"""caf\xe9"""\n')
  (root / 'tests' / 'b.py').write_text('"""A test."""\n')
  (root / 'test_c.py').write_text('"""A test too."""\n')
  monkeypatch.syspath_prepend(tmp_path)
  return 'odd_package'


def test_docstrings(package):
  found = python_text.extract('docstrings', (package,))
  assert [(d.module, d.name, d.kind, d.text) for d in found.documents] == [
    ('odd_package', '', 'module', 'Top.\n\nIndented.'),
    ('odd_package.inner.a', '', 'module', 'Module a.'),
    ('odd_package.inner.a', 'C', 'class', 'Class C.'),
    ('odd_package.inner.a', 'C.f', 'function', 'Method f.'),
    ('odd_package.inner.a', 'C.f.g', 'function', 'Function g.'),
    ('odd_package.inner.a', 'late', 'function', 'Under if.'),
    ('odd_package.inner.a', 'caught', 'function', 'Under except.'),
    ('odd_package.inner.a', 'odd', 'function', 'Half ? a pair.'),
    ('odd_package.latin', '', 'module', 'café'),
  ]
  assert (found.num_files, found.num_skipped) == (5, 2)
  assert {d.library for d in found.documents} == {package}


def test_code(package):
  found = python_text.extract('code', (package,))
  assert [d.module for d in found.documents] == [
    'odd_package',
    'odd_package.inner.a',
    'odd_package.latin',
  ]
  assert found.documents[2].text.endswith('"""café"""\n')
  assert {d.kind for d in found.documents} == {'file'}


def test_a_real_package_against_inspect():
  found = python_text.extract('docstrings', ('tqdm',))
  texts = {(d.module, d.name): d.text for d in found.documents}
  expected = inspect.cleandoc(tqdm.tqdm.__doc__).strip()
  assert texts['tqdm.std', 'tqdm'] == expected
  assert texts['tqdm.std', 'tqdm.update'] == inspect.getdoc(tqdm.tqdm.update)
  assert found == python_text.extract('docstrings', ('tqdm',))


def test_stdlib_files_are_its_own():
  files = list(python_text._source_files(python_text.STDLIB))
  modules = {module for _, module, _ in files}
  assert {'json', 'json.decoder', 'os', 'ast'} <= modules
  assert not any('site-packages' in path.parts for _, _, path in files)
  assert dict((m, p) for _, m, p in files)['json'] == Path(json.__file__)


def test_modules_split_whole(package):
  found = python_text.extract('docstrings', ('tqdm', package))
  by_module = {}
  for document in found.documents:
    by_module.setdefault(document.module, set()).add(document.split)
  assert all(len(splits) == 1 for splits in by_module.values())


def test_no_text_is_a_user_error(tmp_path, monkeypatch):
  (tmp_path / 'empty_package').mkdir()
  (tmp_path / 'empty_package' / '__init__.py').touch()
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(UserError, match='no docstrings found in empty_package'):
    python_text.extract('docstrings', ('empty_package',))


def test_missing_package_is_a_user_error(monkeypatch):
  with pytest.raises(UserError, match='no_such_package'):
    python_text.extract('code', ('no_such_package',))
  monkeypatch.setitem(python_text.PACKAGES, 'absl', 'no-such-dist')
  with pytest.raises(UserError, match='no-such-dist'):
    python_text.package_versions()


def test_packages_are_the_core_dependencies():
  setup = (Path(__file__).parents[2] / 'setup.py').read_text()
  for node in ast.parse(setup).body:
    if isinstance(node, ast.Assign) and node.targets[0].id == 'CORE':
      core = {re.match(r'[\w.-]+', r)[0] for r in ast.literal_eval(node.value)}
  ours = set(python_text.PACKAGES.values()) - {'python'}
  assert {c.lower() for c in core} == {o.lower() for o in ours}


def test_versions_change_the_digest(monkeypatch):
  before = python_text.versions_digest()
  assert before == python_text.versions_digest()
  monkeypatch.setattr(
    python_text.importlib.metadata, 'version', lambda name: '0'
  )
  assert python_text.versions_digest() != before
