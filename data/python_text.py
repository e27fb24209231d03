"""The text of Python packages: their docstrings, and their code.

The packages are the standard library and this project's core dependencies, so
that the corpus does not depend on which extras are installed.
"""

import ast
import contextlib
import dataclasses
import gc
import importlib.metadata
import importlib.util
import inspect
import io
import os
import platform
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import tqdm

from configs import tree
from configs.errors import UserError
from data.splits import split_of

NAME = 'python_docs'
VERSION = '1.0.0'  # of what is extracted, and how
KINDS = ('docstrings', 'code')
STDLIB = 'stdlib'

# import name: distribution name
PACKAGES = {
  STDLIB: 'python',
  'absl': 'absl-py',
  'flax': 'flax',
  'grain': 'grain',
  'importlib_resources': 'importlib_resources',
  'jax': 'jax',
  'jinja2': 'jinja2',
  'matplotlib': 'matplotlib',
  'ml_collections': 'ml-collections',
  'numpy': 'numpy',
  'optax': 'optax',
  'orbax': 'orbax-checkpoint',
  'scipy': 'scipy',
  'tensorboardX': 'tensorboardX',
  'tensorflow_datasets': 'tensorflow-datasets',
  'tokenizers': 'tokenizers',
  'tqdm': 'tqdm',
}

_SKIPPED_FOLDERS = frozenset(
  {
    'test',
    'tests',
    'idle_test',
    'site-packages',
    'dist-packages',
    '__pycache__',
  }
)

_Definition = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ('cases', 'finalbody', 'orelse', 'handlers', 'body')  # popped last


@dataclasses.dataclass(frozen=True)
class Document:
  """A docstring, or a source file.

  Attributes:
    text: a docstring as `inspect.cleandoc` leaves it, or a whole file.
    library: the top-level package, or 'stdlib'.
    module: dotted; the key of the split.
    name: qualified within the module; '' for the module itself.
    kind: 'module', 'class' or 'function' for docstrings, 'file' for code.
  """

  text: str
  library: str
  module: str
  name: str
  kind: str

  @property
  def split(self) -> str:
    """Whole modules fall into one split, so that few near-copies cross."""
    return split_of(self.module)


@dataclasses.dataclass(frozen=True)
class Extraction:
  """What was found: distinct documents, and files that could not be read."""

  documents: tuple[Document, ...]
  num_files: int
  num_skipped: int


def package_versions(
  packages: Sequence[str] = tuple(PACKAGES),
) -> dict[str, str]:
  """The installed version of each package, by import name.

  Raises:
    UserError: a package that is not installed.
  """
  versions = {}
  for package in packages:
    if package == STDLIB:
      versions[package] = platform.python_version()
      continue
    try:
      versions[package] = importlib.metadata.version(PACKAGES[package])
    except importlib.metadata.PackageNotFoundError as error:
      raise UserError(
        f'package {PACKAGES[package]} is not installed, and its text is part '
        'of the corpus: run `pip install -e .`'
      ) from error
  return versions


def versions_digest(packages: Sequence[str] = tuple(PACKAGES)) -> str:
  """Digest of all that decides the text: package versions and `VERSION`."""
  return tree.digest([VERSION, package_versions(packages)])


def extract(kind: str, packages: Sequence[str] = tuple(PACKAGES)) -> Extraction:
  """Reads `packages` in a fixed order; of equal texts the first one stays.

  Files that cannot be decoded or parsed are counted and skipped.

  Args:
    kind: 'docstrings' or 'code'.
    packages: import names, or 'stdlib'.

  Raises:
    UserError: not one document was found.
  """
  files = [found for package in packages for found in _source_files(package)]
  texts: dict[str, Document] = {}
  num_skipped = 0
  progress = tqdm.tqdm(files, desc=f'reading {kind}', unit=' files')
  with _no_garbage_collection():
    for library, module, path in progress:
      try:
        found = _read(kind, library, module, path)
      except (OSError, SyntaxError, ValueError, RecursionError):
        num_skipped += 1
        continue
      for document in found:
        texts.setdefault(document.text, document)
  if not texts:
    raise UserError(
      f'no {kind} found in {", ".join(packages)}: their .py files are missing'
    )
  return Extraction(tuple(texts.values()), len(files), num_skipped)


def _source_files(package: str) -> Iterator[tuple[str, str, Path]]:
  """Yields (library, dotted module, path), sorted by path."""
  for root in _folders(package):
    for path in sorted(_python_files(root)):
      parts = path.relative_to(root).with_suffix('').parts
      inside = parts[:-1] if parts[-1] == '__init__' else parts
      prefix = () if package == STDLIB else (package,)
      yield package, '.'.join(prefix + inside) or package, path


def _python_files(root: Path) -> Iterator[Path]:
  for folder, inner, names in os.walk(root):
    inner[:] = set(inner) - _SKIPPED_FOLDERS  # where the walk goes on
    for name in names:
      if name.endswith('.py') and not _is_test(name.removesuffix('.py')):
        yield Path(folder, name)


def _folders(package: str) -> list[Path]:
  if package == STDLIB:
    return [Path(sysconfig.get_path('stdlib'))]
  spec = importlib.util.find_spec(package)
  if spec is None or spec.submodule_search_locations is None:
    raise UserError(
      f'package {package} is not installed, and its text is part of the '
      'corpus: run `pip install -e .`'
    )
  return sorted(Path(folder) for folder in spec.submodule_search_locations)


def _is_test(stem: str) -> bool:
  return stem.startswith('test_') or stem.endswith('_test')


def _read(kind: str, library: str, module: str, path: Path) -> list[Document]:
  source = path.read_bytes()
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # about escapes in the text that we read
    module_tree = ast.parse(source)
  if kind == 'code':
    code = _decode(source)
    return [Document(code, library, module, '', 'file')] if code.strip() else []
  return [
    Document(text, library, module, name, kind)
    for name, kind, text in _docstrings(module_tree)
  ]


def _decode(source: bytes) -> str:
  encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
  return source.decode(encoding).replace('\r\n', '\n')


def _docstrings(root: ast.Module) -> Iterator[tuple[str, str, str]]:
  """Yields (qualified name, kind, text) in the order of the source."""
  stack: list[tuple[str, ast.AST]] = [('', root)]
  while stack:
    scope, node = stack.pop()
    kind = ''
    if isinstance(node, ast.Module):
      kind = 'module'
    elif isinstance(node, _Definition):
      scope = f'{scope}.{node.name}' if scope else node.name
      kind = 'class' if isinstance(node, ast.ClassDef) else 'function'
    text = _docstring(node) if kind else ''
    if text:
      yield scope, kind, text
    for block in _BLOCKS:
      children = getattr(node, block, None)
      if isinstance(children, list):
        stack += [(scope, child) for child in reversed(children)]


def _docstring(node: ast.AST) -> str:
  body: list[ast.stmt] = getattr(node, 'body', [])
  if not body or not isinstance(body[0], ast.Expr):
    return ''
  value = body[0].value
  if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
    return ''
  # an escaped lone surrogate is text to Python and to no one else
  return inspect.cleandoc(value.value).strip().encode(errors='replace').decode()


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
  """Syntax trees hold no cycles, and looking for some takes a quarter more."""
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()
