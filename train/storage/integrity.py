"""Checksums of arrays, and the manifest by which a checkpoint is verified.

Arrays are read as 32-bit words in row-major order: 8 and 16 bits are widened,
64 bits are two words, the lower one first. With word w_i at position i and two
keys a, b for each lane,

  checksum = sum_i mix(w_i xor (a i + b)) mod 2^32,

where mix is the finalizer of MurmurHash3, a bijection: a change within a single
word always shows. A sum has no order, so neither the layout over devices nor
the number of processes changes it, and parts may be added up.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs.errors import UserError

# (a, b) of each lane; a is odd, so that a i + b differs for 2^32 positions.
_KEYS = ((0x9E3779B1, 0), (0x85EBCA77, 0x27D4EB2F))
_BLOCK = 2**16  # words that stay in the cache of a CPU
_NUMBERS = np.arange(_BLOCK, dtype=np.uint32)


class CorruptError(UserError):
  """What was read from a checkpoint is not what was saved there."""


@dataclasses.dataclass(frozen=True)
class Summed:
  """What an array is.

  Attributes:
    dtype: by name.
    shape: of the whole array, over all devices.
    checksum: 16 hex digits.
  """

  dtype: str
  shape: tuple[int, ...]
  checksum: str


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a checkpoint must hold.

  Attributes:
    step: of the checkpoint.
    meta: SHA-256 of its meta data.
    arrays: by item and path, keys joined by '.'.
  """

  step: int
  meta: str
  arrays: Mapping[str, Summed]

  def item(self, name: str) -> dict[str, Summed]:
    """The arrays of one item, by path."""
    start = f'{name}.'
    return {
      path.removeprefix(start): array
      for path, array in self.arrays.items()
      if path.startswith(start)
    }

  def to_bytes(self) -> bytes:
    """As `from_bytes` reads it: JSON after its own SHA-256."""
    text = json.dumps(dataclasses.asdict(self)).encode()
    return sha256(text).encode() + text

  @classmethod
  def from_bytes(cls, content: bytes) -> 'Manifest':
    """Raises CorruptError where the content is not what was written."""
    found, text = content[:64], content[64:]
    if sha256(text).encode() != found:
      raise CorruptError('the integrity manifest is damaged')
    tree = json.loads(text)
    arrays = {
      path: Summed(one['dtype'], tuple(one['shape']), one['checksum'])
      for path, one in tree['arrays'].items()
    }
    return cls(tree['step'], tree['meta'], arrays)


class PartialSum:
  """The checksum of an array that is seen in parts.

  A part is the whole, `()`, or one index of the first axis, `(index,)`. A part
  that comes again takes its place again.
  """

  def __init__(self, dtype: Any, shape: tuple[int, ...]):
    self._dtype = np.dtype(dtype)
    self._shape = shape
    self._lanes: dict[tuple[int, ...], tuple[int, ...]] = {}

  def add(self, at: tuple[int, ...], part: np.ndarray) -> None:
    """Takes the numbers of one part."""
    if not at:
      self._lanes.clear()
    size = math.prod(self._shape[1:]) * (self._words_each if at else 0)
    self._lanes[at] = _host_lanes(part, at[0] * size if at else 0)

  @property
  def complete(self) -> bool:
    """Whether all parts were seen."""
    return () in self._lanes or len(self._lanes) == math.prod(self._shape[:1])

  def summed(self) -> Summed:
    """Of all parts that were seen."""
    lanes = zip(*self._lanes.values(), strict=True)
    return _summed(self._dtype, self._shape, map(sum, lanes))

  @property
  def _words_each(self) -> int:
    return max(1, self._dtype.itemsize // 4)


def sums(arrays: Mapping[str, Any]) -> dict[str, Summed]:
  """Checksums of arrays, of JAX or NumPy, wherever they lie.

  Under several processes all of them must call it with the same arrays.
  """
  there = {path: x for path, x in arrays.items() if not _is_here(x)}
  # One program for all: those of several processes wait for each other, and a
  # CPU begins no more than 32 before the first has ended.
  lanes: dict[str, Any] = _all_device_lanes(there) if there else {}
  for path in arrays.keys() - there.keys():
    lanes[path] = _host_lanes(np.asarray(arrays[path]), 0)
  return {
    path: _summed(array.dtype, array.shape, map(int, lanes[path]))
    for path, array in arrays.items()
  }


def verify(
  expected: Mapping[str, Summed], found: Mapping[str, Summed], where: str
) -> None:
  """Compares what was read with what was saved.

  Raises:
    CorruptError: an array of `found` is not as in `expected`; named `where`.
  """
  wrong = sorted(p for p, array in found.items() if expected.get(p) != array)
  if wrong:
    raise CorruptError(
      f'{where}: {wrong[0]} is not what was saved: checksum '
      f'{found[wrong[0]].checksum}, and {expected[wrong[0]].checksum} in the '
      f'manifest' + (f', and {len(wrong) - 1} more' if wrong[1:] else '')
    )


def first_line(error: BaseException) -> str:
  """What went wrong at first, in one line."""
  while error.__cause__ or error.__context__:
    error = error.__cause__ or error.__context__  # type: ignore[assignment]
  line = (str(error).splitlines() or [''])[0]
  # TensorStore adds how it was called.
  return f'{type(error).__name__}: {line.partition(" [tensorstore")[0]}'


def sha256(content: bytes) -> str:
  """64 hex digits."""
  return hashlib.sha256(content).hexdigest()


def _summed(dtype: Any, shape: Any, lanes: Iterable[int]) -> Summed:
  digits = ''.join(f'{lane % 2**32:08x}' for lane in lanes)
  return Summed(str(np.dtype(dtype)), tuple(shape), digits)


def _is_here(array: Any) -> bool:
  """Whether the numbers lie in this process's memory anyhow.

  Then a program need not be compiled for every shape.
  """
  if not isinstance(array, jax.Array):
    return True
  platforms = {device.platform for device in array.devices()}
  return platforms == {'cpu'} and array.is_fully_addressable


def _mix(words: Any, positions: Any, key: tuple[int, int]) -> Any:
  """One lane; of NumPy as of JAX, in uint32, which wraps around."""
  x = positions * np.uint32(key[0])
  x += np.uint32(key[1])
  x ^= words
  x ^= x >> 16
  x *= np.uint32(0x85EBCA6B)
  x ^= x >> 13
  x *= np.uint32(0xC2B2AE35)
  x ^= x >> 16
  return x.sum(dtype=np.uint32)


def _host_lanes(array: np.ndarray, first: int) -> tuple[int, ...]:
  """Of a part whose first word is number `first` of the whole."""
  flat = np.ascontiguousarray(array).reshape(-1)
  bits = flat.view(f'u{min(4, flat.dtype.itemsize)}')
  lanes = [0, 0]
  for start in range(0, len(bits), _BLOCK):
    words = bits[start : start + _BLOCK].astype(np.uint32, copy=False)
    positions = _NUMBERS[: len(words)] + np.uint32((first + start) % 2**32)
    for lane, key in enumerate(_KEYS):
      lanes[lane] += int(_mix(words, positions, key))
  return tuple(lanes)


@jax.jit
def _all_device_lanes(
  arrays: Mapping[str, jax.Array],
) -> dict[str, tuple[jax.Array, ...]]:
  return {path: _device_lanes(array) for path, array in arrays.items()}


@jax.jit
def _device_lanes(array: jax.Array) -> tuple[jax.Array, ...]:
  """Of a whole array, each device its own part."""
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  bits = f'uint{8 * min(4, array.dtype.itemsize)}'
  words = jax.lax.bitcast_convert_type(array, jnp.dtype(bits))
  words = words.astype(jnp.uint32)
  positions = jnp.zeros(words.shape, jnp.uint32)
  stride = 1
  for axis in reversed(range(words.ndim)):
    number = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    positions += number * np.uint32(stride % 2**32)
    stride *= words.shape[axis]
  return tuple(_mix(words, positions, key) for key in _KEYS)
