"""The order of rows in an epoch: index arithmetic alone.

An epoch goes through all shards in an order drawn from (seed, epoch). Some of
them, `_TOGETHER`, are open at a time, and their rows are dealt out in a second
order drawn from (seed, epoch): a shuffle of all rows where there are no more
shards than that, and else one whose memory does not grow with the text.
"""

import functools

import numpy as np

_TOGETHER = 8  # shards


class EpochOrder:
  """Which row of which shard each row of each epoch is.

  Attributes:
    rows_per_epoch: a multiple of the batch size; what is left of an epoch's
      last shards is dropped, and the next epoch draws another order.
  """

  def __init__(self, rows_K: np.ndarray, batch_size: int, seed: int):
    """Takes the number of rows of each shard, and rows of a global batch."""
    self._rows_K = np.asarray(rows_K, np.int64)
    self._seed = seed
    total = int(self._rows_K.sum())
    self.rows_per_epoch = total - total % batch_size
    # the groups at hand, and the next ones, which read-ahead may be in
    self._windows = functools.lru_cache(maxsize=3)(self._draw_windows)
    self._bounds = functools.lru_cache(maxsize=2)(self._draw_bounds)

  def locate(
    self, epoch: int, rows_B: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """(shard, row of it) of each row of an epoch, int64."""
    shards_K, ends_K = self._bounds(epoch)
    # a group's rows lie together, and begin where its first shard's do
    places_B = np.searchsorted(ends_K, rows_B, side='right')
    groups_B = places_B // _TOGETHER
    found_B = np.empty_like(rows_B)
    for group in np.unique(groups_B):
      chosen = groups_B == group
      first = group * _TOGETHER
      start = ends_K[first - 1] if first else 0
      windows = self._windows(epoch, int(group))
      found_B[chosen] = start + windows[rows_B[chosen] - start]
    places_B = np.searchsorted(ends_K, found_B, side='right')
    starts_B = np.where(places_B > 0, ends_K[places_B - 1], 0)
    return shards_K[places_B], found_B - starts_B

  def _draw_bounds(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The shards of an epoch in order, and where the rows of each end."""
    shards_K = permutation(len(self._rows_K), (self._seed, epoch, 2))
    ends_K = np.cumsum(self._rows_K[shards_K])
    return shards_K, np.minimum(ends_K, self.rows_per_epoch)

  def _draw_windows(self, epoch: int, group: int) -> np.ndarray:
    _, ends_K = self._bounds(epoch)
    first = group * _TOGETHER
    start = ends_K[first - 1] if first else 0
    size = ends_K[first : first + _TOGETHER][-1] - start
    return permutation(size, (self._seed, epoch, 1, group))


def permutation(size: int, key: tuple[int, ...]) -> np.ndarray:
  """An order of `size` things, of bits that NumPy keeps fixed (NEP 19)."""
  bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(size)
  return np.argsort(bits, kind='stable')
