"""Checksums are what they are said to be, wherever the arrays lie."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.storage import integrity
from train.storage.integrity import (
  CorruptError,
  Manifest,
  PartialSum,
  Summed,
  sums,
)

M32 = 2**32


def _by_definition(words):
  """The formula of the module, in whole numbers of Python."""
  lanes = []
  for a, b in ((0x9E3779B1, 0), (0x85EBCA77, 0x27D4EB2F)):
    total = 0
    for i, word in enumerate(words):
      x = word ^ ((a * i + b) % M32)
      # MurmurHash3, fmix32.
      x ^= x >> 16
      x = x * 0x85EBCA6B % M32
      x ^= x >> 13
      x = x * 0xC2B2AE35 % M32
      x ^= x >> 16
      total += x
    lanes.append(f'{total % M32:08x}')
  return ''.join(lanes)


def _random(dtype, shape):
  bits = np.random.default_rng(0).bytes(np.dtype(dtype).itemsize * 6)
  if dtype == np.bool_:
    return np.array([True, False, False, True, True, False]).reshape(shape)
  return np.frombuffer(bits, dtype).reshape(shape)


@pytest.mark.parametrize('where', ['host', 'device'])
@pytest.mark.parametrize(
  'dtype',
  [np.float32, np.int32, np.float16, jnp.bfloat16, np.int8, np.bool_],
)
def test_the_sum_is_that_of_the_formula(dtype, where):
  array = _random(dtype, (2, 3))
  size = array.dtype.itemsize
  content = array.tobytes()
  words = [
    int.from_bytes(content[i : i + size], 'little')
    for i in range(0, len(content), size)
  ]
  if where == 'device':
    lanes = map(int, integrity._device_lanes(jnp.asarray(array)))
    found = ''.join(f'{lane:08x}' for lane in lanes)
  else:
    summed = sums({'x': array})['x']
    assert (summed.dtype, summed.shape) == (str(array.dtype), (2, 3))
    found = summed.checksum
  assert found == _by_definition(words)


def test_sixty_four_bits_are_two_words():
  array = np.array([1 + (2 << 32), 3 + (4 << 32)], np.int64)
  found = sums({'x': array})['x'].checksum
  assert found == _by_definition([1, 2, 3, 4])


@pytest.mark.parametrize('shape', [(), (0,), (0, 3)])
def test_a_scalar_and_nothing_have_sums(shape):
  array = np.ones(shape, np.float32)
  words = [0x3F800000] * array.size
  assert sums({'x': array})['x'].checksum == _by_definition(words)
  lanes = integrity._device_lanes(jnp.asarray(array))
  found = ''.join(f'{int(lane):08x}' for lane in lanes)
  assert found == _by_definition(words)


def test_layout_does_not_change_a_sum():
  array = np.random.default_rng(1).normal(size=(8, 4, 300)).astype(np.float32)
  expected = sums({'x': array})['x']
  mesh = Mesh(np.array(jax.devices()).reshape(2, 2, 2), ('a', 'b', 'c'))
  for spec in [(), ('a',), (('a', 'b'), 'c'), (None, ('a', 'b')), ('c', 'a')]:
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    spread = jax.device_put(array, sharding)
    assert sums({'x': spread})['x'] == expected
    lanes = integrity._device_lanes(spread)
    assert ''.join(f'{int(lane):08x}' for lane in lanes) == expected.checksum


def test_every_flipped_bit_shows():
  array = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
  seen = {sums({'x': array})['x'].checksum}
  for place, bit in itertools.product(range(15), range(32)):
    changed = array.copy()
    changed.view(np.uint32).reshape(-1)[place] ^= np.uint32(1 << bit)
    seen.add(sums({'x': changed})['x'].checksum)
  assert len(seen) == 1 + 15 * 32


def test_what_a_plain_sum_would_miss_shows():
  array = np.arange(64, dtype=np.float32).reshape(8, 8)
  changes = {
    'rows swapped': array[[1, 0, *range(2, 8)]],
    'turned over': array.T,
    'two signs': np.where((array == 3) | (array == 9), -array, array),
    'all zero': np.zeros_like(array),
  }
  found = {name: sums({'x': x})['x'].checksum for name, x in changes.items()}
  found['as it was'] = sums({'x': array})['x'].checksum
  assert len(set(found.values())) == 5
  # Of the same bytes, another type or shape is another array.
  others = [array, array.view(np.int32), array.reshape(4, 16)]
  assert len({sums({'x': x})['x'] for x in others}) == 3


@pytest.mark.parametrize('dtype', [np.float32, jnp.bfloat16, np.int64])
def test_parts_add_up_in_any_order(dtype):
  array = (np.arange(60).reshape(5, 3, 4) * 7).astype(dtype)
  expected = sums({'x': array})['x']
  partial = PartialSum(dtype, array.shape)
  for layer in (3, 0, 4, 3, 1):
    partial.add((layer,), array[layer])
    assert not partial.complete
  partial.add((2,), array[2])
  assert partial.complete
  assert partial.summed() == expected
  partial.add((), array)
  assert partial.complete
  assert partial.summed() == expected


def test_more_words_than_a_block():
  array = np.arange(200_000, dtype=np.int32).reshape(2, -1)
  whole = sums({'x': array})['x'].checksum
  lanes = integrity._device_lanes(jnp.asarray(array))
  assert whole == ''.join(f'{int(lane):08x}' for lane in lanes)
  partial = PartialSum(np.int32, array.shape)
  for layer in (0, 1):
    partial.add((layer,), array[layer])
  assert partial.summed().checksum == whole


def _manifest():
  return Manifest(7, 'ab', {'params.w': Summed('float32', (2, 3), '0' * 16)})


def test_a_manifest_comes_back_and_any_flip_is_found():
  content = _manifest().to_bytes()
  assert Manifest.from_bytes(content) == _manifest()
  for place in range(len(content)):
    changed = bytearray(content)
    changed[place] ^= 4
    with pytest.raises(CorruptError, match='manifest is damaged'):
      Manifest.from_bytes(bytes(changed))


def test_a_mismatch_is_named():
  there = _manifest().item('params')
  integrity.verify(there, dict(there), 'CKPT')
  found = {'w': Summed('float32', (2, 3), '1' * 16)}
  with pytest.raises(CorruptError, match='CKPT: w is not what was saved'):
    integrity.verify(there, found, 'CKPT')
