"""Which source each training row comes from: index arithmetic alone.

The sources are the leaves of a binary tree, the Huffman tree of their shares.
A node that has been given m rows passes floor(m q + b) of them to its left
child, whose share of the node is q, and the others to its right one. From one
row to the next that floor grows by 0 or 1, which says where the row goes and
how many went there before. So the source of a row, its number there, and the
rows of each source among the first n, follow from n alone: nothing is
simulated, stored or drawn on the way.

The phase b is 1/2, give or take 1/8 drawn from the seed, so that a node is off
its target by at most 5/8 row of its own. It hands on q times the error it was
given; in a Huffman tree a node below the root with children a >= b has a
sibling of at least a, which bounds the sum: at one set of shares, a source is
at most 2.1 rows off its target after any number of rows, however many sources
there are (two: 5/8 row).

Shares change where a stage begins and where a source has reached its cap. Each
stretch of constant shares has a tree of its own, whose phases make up for what
the sources are off by then.
"""

import bisect
import dataclasses
import fractions
import heapq
import itertools
import math
from collections.abc import Sequence

import numpy as np

from configs.errors import UserError
from data.splits import stable_hash

_BITS = 31  # of a node's share: m * q is exact in int64 below row 2^62
_ONE = 2**_BITS
_FOREVER = 2**62  # rows
_JITTER = 1 / 8  # rows

Stage = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
  """The `data.mixture` section of a config.

  Attributes:
    weights: of the sources, in their order; () = their sizes in tokens.
    temperature: T; shares are weights^(1/T), renormalised: 1 leaves them, more
      evens them out (Raffel et al. 2020, arXiv:1910.10683, section 3.5.2;
      Xue et al. 2021, arXiv:2010.11934, with alpha = 1/T).
    max_epochs: of each source, after which it leaves and the others share what
      it had in proportion; 0 = no cap; () = none has one.
    stages: a curriculum, constant by pieces: (tokens seen from which it holds,
      a weight for each source), the first from 0 on; in the place of `weights`.
  """

  weights: tuple[float, ...] = ()
  temperature: float = 1.0
  max_epochs: tuple[float, ...] = ()
  stages: tuple[Stage, ...] = ()

  def validate(self) -> None:
    """Raises UserError for a value that cannot work."""
    for weight in self.weights:
      if not 0 < weight < math.inf:
        raise UserError(
          f'data.mixture.weights: {weight} is no weight; give finite ones '
          'above 0'
        )
    if not 0 < self.temperature < math.inf:
      raise UserError(
        f'data.mixture.temperature = {self.temperature}: finite and above 0'
      )
    for epochs in self.max_epochs:
      if not 0 <= epochs < math.inf:
        raise UserError(
          f'data.mixture.max_epochs: {epochs} is no number of epochs; give '
          'finite ones above 0, or 0 for no cap'
        )
    self._validate_stages()
    self._validate_lengths()

  def _validate_stages(self) -> None:
    if self.stages and self.weights:
      raise UserError(
        'data.mixture.stages takes the place of data.mixture.weights: give one'
      )
    for stage in self.stages:
      start, weights = stage[:1], stage[1:]
      if not weights or not all(0 <= value < math.inf for value in stage):
        raise UserError(
          f'data.mixture.stages: {stage} is no stage; give the tokens it '
          'begins at and a weight for each source, finite and at least 0'
        )
      if not any(weights):
        raise UserError(
          f'data.mixture.stages: all weights from {start[0]:.0f} tokens on are '
          '0; give one of them more'
        )
    starts = [stage[0] for stage in self.stages]
    if starts and (
      starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts))
    ):
      raise UserError(
        f'data.mixture.stages begin at {starts} tokens: start with 0, and '
        'ascend'
      )

  def _validate_lengths(self) -> None:
    lengths = _lengths(self)
    if len(set(lengths.values())) > 1:
      raise UserError(
        f'{", ".join(lengths)} are for {", ".join(map(str, lengths.values()))} '
        'sources: give one value for each source'
      )


class Schedule:
  """The endless sequence of rows of all sources, by index.

  A pure function of the config, the sources' sizes, the seed and the row.
  """

  def __init__(
    self,
    config: MixtureConfig,
    rows_per_epoch: Sequence[int],
    tokens_per_row: int,
    sizes: Sequence[int],
    seed: int,
  ):
    """Lays out the stretches of constant shares.

    Args:
      config: valid.
      rows_per_epoch: of each source.
      tokens_per_row: the sequence length.
      sizes: tokens of each source, its weight where none is given.
      seed: of the phases.

    Raises:
      UserError: the config is for another number of sources, or a source has
        not a row.
    """
    _check(config, rows_per_epoch, tokens_per_row)
    self._tokens_per_row = tokens_per_row
    self._caps = _caps(config, rows_per_epoch)
    self._segments: list[_Segment] = []
    self._capacity: int | None = None
    self._lay_out(_shares(config, sizes, tokens_per_row), seed)
    self._starts = np.array([segment.start for segment in self._segments])

  def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rows come from.

    Args:
      rows: numbers from 0 on, in any order, of shape B.

    Returns:
      The source of each row, and which of that source's rows it is, counted
      from 0 over all epochs: row n is row n mod `rows_per_epoch` of epoch
      n // `rows_per_epoch`. Both int64, of shape B.

    Raises:
      UserError: a row beyond the capacity.
    """
    rows_B = np.asarray(rows, np.int64)
    sources_B, places_B = np.empty_like(rows_B), np.empty_like(rows_B)
    if not rows_B.size:
      return sources_B, places_B
    if rows_B.min() < 0:
      raise IndexError(f'row {rows_B.min()} is before the first')
    self._check_capacity(int(rows_B.max()) + 1)
    segments_B = np.searchsorted(self._starts, rows_B, side='right') - 1
    for index in np.unique(segments_B):
      chosen = segments_B == index
      segment = self._segments[index]
      found, places = segment.tree.locate(rows_B[chosen] - segment.start)
      sources_B[chosen] = found
      places_B[chosen] = segment.before[found] + places
    return sources_B, places_B

  def counts(self, num_rows: int) -> np.ndarray:
    """Rows of each source among the first `num_rows`, int64.

    Raises:
      UserError: more rows than the capacity.
    """
    self._check_capacity(num_rows)
    index = np.searchsorted(self._starts, num_rows, side='right') - 1
    segment = self._segments[index]
    return segment.before + segment.tree.counts(num_rows - segment.start)

  def capacity(self) -> int | None:
    """Rows until every source of the stage has reached its cap; None = endless.

    A source that the stage gives no weight to is not waited for.
    """
    return self._capacity

  def _check_capacity(self, num_rows: int) -> None:
    if self._capacity is not None and num_rows > self._capacity:
      raise UserError(
        f'data.mixture.max_epochs lets {self._capacity} rows through, which '
        f'are {self._capacity * self._tokens_per_row} tokens, and row '
        f'{num_rows - 1} is beyond: train on fewer tokens, or raise a cap '
        '(0 = none)'
      )

  def _lay_out(self, stages: list[tuple[int, np.ndarray]], seed: int) -> None:
    """Fills `_segments`, one for each stage and each source that leaves."""
    before = np.zeros(len(self._caps), np.int64)
    owed = np.zeros(len(self._caps))  # rows that sources are behind by
    ends = [*(start for start, _ in stages[1:]), _FOREVER]
    for (row, weights), end in zip(stages, ends, strict=True):
      while row < end:
        shares = np.where(before < self._caps, weights, 0)
        if not shares.any():
          self._capacity = row
          if not self._segments:
            raise UserError(
              'data.mixture.max_epochs: every source has reached its cap '
              'before the first row; raise one (0 = none)'
            )
          return
        shares /= shares.sum()
        # what is owed to those that stay adds up to 0
        owed = np.where(shares > 0, owed, 0)
        owed -= shares * owed.sum()
        key = (seed, stable_hash('mixture'), len(self._segments))
        tree = _Tree(shares, owed, key)
        self._segments.append(_Segment(row, before, tree))
        left = np.where(shares > 0, self._caps - before, _FOREVER)
        length = _rows_until(tree, left, end - row)
        added = tree.counts(length)
        owed += shares * length - added
        before = before + added
        row += length


@dataclasses.dataclass(frozen=True)
class _Segment:
  """Rows of constant shares.

  Attributes:
    start: its first row.
    before: rows of each source before that.
    tree: tells where its rows come from, counted from `start`.
  """

  start: int
  before: np.ndarray
  tree: '_Tree'


class _Tree:
  """Deals rows out to sources; node i is source i, the inner ones follow."""

  def __init__(
    self, shares: np.ndarray, owed: np.ndarray, key: tuple[int, ...]
  ):
    """Builds the Huffman tree of the shares above 0, which add up to 1."""
    self._leaves = len(shares)
    heap = [(float(shares[s]), int(s)) for s in np.flatnonzero(shares)]
    heapq.heapify(heap)
    behind = list(owed)
    pairs, parts = [], []
    while len(heap) > 1:
      (small, right), (large, left) = heapq.heappop(heap), heapq.heappop(heap)
      pairs.append((left, right))
      parts.append(large / (small + large))
      heapq.heappush(heap, (small + large, len(behind)))
      behind.append(behind[left] + behind[right])
    self._root = heap[0][1]
    self._lefts, self._rights = np.array(pairs, np.int64).reshape(-1, 2).T
    self._parts = _fixed_point(np.array(parts)).clip(1, _ONE - 1)
    bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(len(pairs))
    phases = 1 / 2 + _JITTER * (2 * (bits / 2**64) - 1)
    # a child makes up for its own debt, less its part of the node's
    debts = np.array(behind)
    phases += debts[self._lefts] - np.array(parts) * debts[self._leaves :]
    self._phases = _fixed_point(phases).clip(0, _ONE - 1)

  def locate(self, rows_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The source of each row, and its number there."""
    nodes_B, places_B = np.full_like(rows_B, self._root), rows_B.copy()
    while (inner := np.flatnonzero(nodes_B >= self._leaves)).size:
      node, place = nodes_B[inner] - self._leaves, places_B[inner]
      left = self._left(node, place)
      goes_left = self._left(node, place + 1) > left
      places_B[inner] = np.where(goes_left, left, place - left)
      nodes_B[inner] = np.where(
        goes_left, self._lefts[node], self._rights[node]
      )
    return nodes_B, places_B

  def counts(self, num_rows: int) -> np.ndarray:
    """Rows of each source among the first `num_rows`."""
    counts = np.zeros(self._leaves + len(self._lefts), np.int64)
    counts[self._root] = num_rows
    for node in reversed(range(len(self._lefts))):  # parents first
      given = counts[self._leaves + node]
      left = self._left(node, given)
      counts[self._lefts[node]] = left
      counts[self._rights[node]] = given - left
    return counts[: self._leaves]

  def _left(self, node, rows):
    """floor(rows * q + b) of inner nodes, in two parts lest it overflow."""
    high, low = rows >> _BITS, rows & (_ONE - 1)
    part = self._parts[node]
    return high * part + ((low * part + self._phases[node]) >> _BITS)


def _rows_until(tree: _Tree, left: np.ndarray, most: int) -> int:
  """Rows until the first source has none left, or `most`."""
  return bisect.bisect_left(
    range(most), True, key=lambda n: bool((tree.counts(n) >= left).any())
  )


def _check(
  config: MixtureConfig, rows_per_epoch: Sequence[int], tokens_per_row: int
) -> None:
  for key, length in _lengths(config).items():
    if length != len(rows_per_epoch):
      raise UserError(
        f'{key} is for {length} sources and data.source has '
        f'{len(rows_per_epoch)}: give one value for each'
      )
  for source, rows in enumerate(rows_per_epoch):
    if rows < 1:
      raise UserError(
        f'source {source} of data.source (from 0) has not a row of '
        f'{tokens_per_row} tokens: lower data.sequence_length, or give it more '
        'text'
      )


def _lengths(config: MixtureConfig) -> dict[str, int]:
  """The number of sources that each key which was given is for."""
  given = {'weights': config.weights, 'max_epochs': config.max_epochs}
  lengths = {f'data.mixture.{k}': len(v) for k, v in given.items() if v}
  for number, stage in enumerate(config.stages):
    lengths[f'data.mixture.stages[{number}]'] = len(stage) - 1
  return lengths


def _caps(config: MixtureConfig, rows_per_epoch: Sequence[int]) -> np.ndarray:
  """Rows that each source may give."""
  epochs = config.max_epochs or (0,) * len(rows_per_epoch)
  caps = []
  for most, rows in zip(epochs, rows_per_epoch, strict=True):
    # of the decimal that was written: 0.29 of 100 rows are 29, not 28.99
    cap = math.floor(fractions.Fraction(repr(most)) * rows)
    caps.append(min(cap, _FOREVER) if most else _FOREVER)
  return np.array(caps, np.int64)


def _shares(
  config: MixtureConfig, sizes: Sequence[int], tokens_per_row: int
) -> list[tuple[int, np.ndarray]]:
  """The first row of each stage, and the shares of the sources from there."""
  stages = config.stages or ((0, *(config.weights or sizes)),)
  shares = []
  for start, *weights in stages:
    # the first row that begins at `start` or later
    row = -(-math.ceil(start) // tokens_per_row)
    tempered = np.array(weights, float) / max(weights)
    tempered **= 1 / config.temperature
    shares.append((min(row, _FOREVER), tempered / tempered.sum()))
  return shares


def _fixed_point(values: np.ndarray) -> np.ndarray:
  return np.rint(values * _ONE).astype(np.int64)
