"""Which split a document belongs to, for ever."""

import hashlib

SPLITS = ('train', 'validation', 'test')


def split_of(key: str) -> str:
  """The split of `key`: 90% train, 5% validation, 5% test.

  The first 8 bytes of the SHA-256 of `key` as a fraction u of 2^64 decide:
  train below 0.9, validation below 0.95, test above. The same key is in the
  same split on every machine, whatever else the corpus holds.
  """
  percent = 100 * stable_hash(key) // 2**64
  if percent < 90:
    return 'train'
  return 'validation' if percent < 95 else 'test'


def stable_hash(key: str) -> int:
  """The first 8 bytes of the SHA-256 of `key`, an integer below 2^64."""
  return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], 'big')
