"""Weights that others made: names, shapes and numbers, read when asked for."""

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from configs.errors import UserError
from data.tokenizer import LibraryTokenizer

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'


class Weights(Protocol):
  """A model of Hugging Face's layout, whatever files hold it.

  Attributes:
    config: as its config.json says.
    names: of its tensors.
  """

  config: dict[str, Any]
  names: set[str]

  def own_name(self, name: str) -> str:
    """What a tensor is called here."""

  def shape(self, name: str) -> tuple[int, ...]:
    """Of a tensor, without reading it."""

  def read(self, name: str) -> np.ndarray:
    """A tensor as float32."""

  def tokenizer(self) -> LibraryTokenizer:
    """Its tokenizer, with the token that separates documents."""


@contextlib.contextmanager
def open_weights(source: pathlib.Path) -> Iterator[Weights]:
  """Opens a folder of Hugging Face, or a GGUF file.

  Raises:
    UserError: a file or a package is missing.
  """
  if source.suffix == '.gguf':
    from train.foreign.gguf import GgufWeights

    yield GgufWeights(source)
    return
  with contextlib.ExitStack() as stack:
    yield SafetensorsWeights(source, stack)


class SafetensorsWeights:
  """config.json, tokenizer.json, and safetensors in one file or several."""

  def __init__(self, folder: pathlib.Path, stack: contextlib.ExitStack):
    """Opens the files until `stack` is closed."""
    safetensors = library()
    self._folder = folder
    self.config = _json(_file(folder, 'config.json'))
    shards = [WEIGHTS]
    if (folder / INDEX).exists():
      weight_map = _json(folder / INDEX).get('weight_map')
      if not isinstance(weight_map, dict):
        raise UserError(f'{folder / INDEX} has no weight_map')
      shards = sorted(set(weight_map.values()))
    self._files: dict[str, Any] = {}  # by the name of the tensor
    for shard in shards:
      # Not 'numpy', which knows no bfloat16.
      path = _file(folder, shard)
      try:
        opened = safetensors.safe_open(path, framework='flax')
      except safetensors.SafetensorError as error:
        raise UserError(
          f'{path} is no whole safetensors file ({error}); was it downloaded '
          'with git-lfs?'
        ) from error
      file = stack.enter_context(opened)
      self._files |= dict.fromkeys(file.keys(), file)
    self.names = set(self._files)

  def own_name(self, name: str) -> str:
    # A model saved without its head lacks the first part of all its names.
    bare = name.partition('.')[2]
    for spelled in (name, bare):
      # The first BERT weights call the two vectors of a norm as TensorFlow did.
      old = re.sub(r'LayerNorm\.weight$', 'LayerNorm.gamma', spelled)
      old = re.sub(r'LayerNorm\.bias$', 'LayerNorm.beta', old)
      for known in (spelled, old):
        if known in self.names:
          return known
    return name

  def shape(self, name: str) -> tuple[int, ...]:
    own = self.own_name(name)
    return tuple(self._files[own].get_slice(own).get_shape())

  def read(self, name: str) -> np.ndarray:
    own = self.own_name(name)
    return np.asarray(self._files[own].get_tensor(own), np.float32)

  def tokenizer(self) -> LibraryTokenizer:
    path = _file(self._folder, 'tokenizer.json')
    added, text = _json(path).get('added_tokens', ()), path.read_text()
    by_id = {token['id']: token['content'] for token in added}
    for key in ('eos_token_id', 'bos_token_id'):
      number = self.config.get(key)
      number = number[0] if isinstance(number, list) else number
      if number in by_id:
        return LibraryTokenizer(text, by_id[number])
    if '[SEP]' in by_id.values():  # BERT's config.json does not say
      return LibraryTokenizer(text, '[SEP]')
    raise UserError(
      f'{self._folder}: eos_token_id of config.json is no added token of '
      'tokenizer.json, so nothing separates documents'
    )


def library() -> Any:
  """The package `safetensors`; UserError where it is not installed."""
  try:
    import safetensors
  except ImportError as error:
    raise UserError(
      'safetensors is not installed: run `pip install -e .[hf]`'
    ) from error
  return safetensors


def _json(path: pathlib.Path) -> dict[str, Any]:
  try:
    return dict(json.loads(path.read_text()))
  except (ValueError, TypeError) as error:
    raise UserError(f'{path} is no JSON object: {error}') from error


def _file(folder: pathlib.Path, name: str) -> pathlib.Path:
  if not (folder / name).is_file():
    raise UserError(f'{folder} has no {name}')
  return folder / name
