"""Safetensors files, written a tensor at a time.

The library would have all of a file's tensors in memory. A file is the length
of its header (8 bytes, little-endian), the header (JSON: type, shape and place
of each tensor), and the numbers. https://github.com/huggingface/safetensors
"""

import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from configs.files import write_json
from train.foreign.weights import INDEX, WEIGHTS

Shape = tuple[int, ...]
_FLOAT32 = np.dtype('<f4')
_ALIGNMENT = 8  # bytes, of the header


def write_shards(
  folder: pathlib.Path,
  shapes: Mapping[str, Shape],
  tensors: Iterable[tuple[str, np.ndarray]],
  shard_bytes: int,
) -> None:
  """Writes float32 tensors, and the index of the files if they are several.

  Args:
    folder: of the files.
    shapes: of the tensors, by name.
    tensors: names and numbers, in the order of `shapes`; asked for one by one.
    shard_bytes: of one file at most, unless one tensor is larger.
  """
  shards = _divide(shapes, shard_bytes)
  names = [WEIGHTS]
  if len(shards) > 1:
    names = [
      f'model-{number:05}-of-{len(shards):05}.safetensors'
      for number, _ in enumerate(shards, start=1)
    ]
  rest = iter(tensors)
  for name, shard in zip(names, shards, strict=True):
    _write(folder / name, shard, rest)
  if len(shards) > 1:
    weight_map = {
      tensor: name
      for name, shard in zip(names, shards, strict=True)
      for tensor in shard
    }
    total = sum(map(_num_bytes, shapes.values()))
    index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
    write_json(folder / INDEX, index)


def _divide(
  shapes: Mapping[str, Shape], shard_bytes: int
) -> list[dict[str, Shape]]:
  shards: list[dict[str, Shape]] = [{}]
  size = 0
  for name, shape in shapes.items():
    if shards[-1] and size + _num_bytes(shape) > shard_bytes:
      shards.append({})
      size = 0
    shards[-1][name] = shape
    size += _num_bytes(shape)
  return shards


def _write(
  path: pathlib.Path,
  shapes: Mapping[str, Shape],
  tensors: Iterator[tuple[str, np.ndarray]],
) -> None:
  """Writes one file, of as many tensors as it has shapes."""
  header: dict[str, object] = {'__metadata__': {'format': 'pt'}}
  end = 0
  for name, shape in shapes.items():
    start, end = end, end + _num_bytes(shape)
    header[name] = {
      'dtype': 'F32',
      'shape': shape,
      'data_offsets': (start, end),
    }
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % _ALIGNMENT)
  with path.open('wb') as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for name, shape in shapes.items():
      found, array = next(tensors)
      if (found, array.shape) != (name, shape):
        raise ValueError(f'{found} {array.shape}: expected {name} {shape}')
      file.write(np.ascontiguousarray(array, _FLOAT32).data)
    file.flush()
    os.fsync(file.fileno())


def _num_bytes(shape: Shape) -> int:
  return math.prod(shape) * _FLOAT32.itemsize
