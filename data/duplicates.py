"""Texts of one set that are equal, or nearly so.

Both functions give, for each text, the index of the first one like it, so that
the texts to keep are those where `first_T == np.arange(len(first_T))`.

Suffixes: T texts, P pairs of them, Q queues of texts that agree in a band.
"""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import sparse

from data.near_index import MEMORY, THRESHOLD, Band, NearIndex
from data.shingles import from_lengths, jaccard, nfc

HEADS = 50  # of a queue that a text is compared with in a band, at most

_REMEMBERED = 2**24  # pairs that were compared, at 8 bytes

log = logging.getLogger(__name__)


def normalize(text: str) -> str:
  """Unicode's form NFC, with one space for every run of white space.

  White space at both ends goes. Case and punctuation stay. See `shingles.nfc`
  for long runs of combining marks.
  """
  return ' '.join(nfc(text).split())


def digest(text: str) -> bytes:
  """16 bytes of BLAKE2b; among a billion texts two collide at 1e-21."""
  encoded = text.encode(errors='surrogatepass')
  return hashlib.blake2b(encoded, digest_size=16).digest()


def exact_duplicates(
  texts: Iterable[str], *, normalized: bool = True
) -> np.ndarray:
  """For each text the index of the first one that is equal, (T,) int64.

  Args:
    texts: read once; 16 bytes of each are held, and 32 more while they are
      sorted.
    normalized: whether texts are compared as `normalize` leaves them, or
      character by character.
  """
  digests = (digest(normalize(t) if normalized else t) for t in texts)
  digests_T = np.fromiter(digests, 'S16')
  _, first, kind_T = np.unique(
    digests_T, return_index=True, return_inverse=True
  )
  return first[kind_T]


def near_duplicates(
  texts: Iterable[str],
  threshold: float = THRESHOLD,
  *,
  memory: int = MEMORY,
  folder: Path | None = None,
) -> np.ndarray:
  """For each text the index of the first one of its cluster, (T,) int64.

  A cluster is a connected part of the graph of near-duplicates: two of its
  texts may be linked through others only. `NearIndex` tells what is compared,
  and how much of it is found. Among more than `HEADS` texts that are much alike
  but below the threshold, some of what is near may be missed: a warning tells
  of how many texts.

  Args:
    texts: read once.
    threshold: Jaccard similarity from which two texts are near-duplicates.
    memory: bytes of the index to hold in memory.
    folder: for an index above that; None for the system's temporary folder.

  Raises:
    UserError: a threshold that is no similarity above 0.
  """
  index = NearIndex(texts, threshold, memory=memory, folder=folder)
  clusters = _Clusters(index)
  for band in index.bands:
    clusters.link(band)
  if clusters.is_cut_T.any():
    log.warning(
      'near-duplicates: %d of %d texts were compared with the first %d only of '
      'those that share a band with them',
      clusters.is_cut_T.sum(),
      len(index),
      HEADS,
    )
  return _roots(clusters.parent_T, np.arange(len(index)))


class _Clusters:
  """Which texts are linked so far.

  Attributes:
    parent_T: (T,) int64, an earlier text of the cluster, or the text itself.
    is_cut_T: (T,) bool, whether a text had more than `HEADS` before it.
  """

  def __init__(self, index: NearIndex):
    self.parent_T = index.first_T.copy()
    self.is_cut_T = np.zeros(len(index), bool)
    self._index = index
    self._apart = np.zeros(0, np.int64)  # compared and not near, ascending

  def link(self, band: Band) -> None:
    """Links near-duplicates among texts that agree in a band.

    The head of every queue of such texts is compared with all those behind it
    and leaves, until what is left of the queue is one cluster, or `HEADS` of
    them have left.
    """
    is_new = np.ones(len(band.keys), bool)
    is_new[1:] = band.keys[1:] != band.keys[:-1]
    head_Q = np.flatnonzero(is_new)
    end_Q = np.append(head_Q[1:], len(is_new))
    compared = [self._apart]
    for _ in range(HEADS):
      waiting_Q = head_Q + 1 < end_Q
      head_Q, end_Q = head_Q[waiting_Q], end_Q[waiting_Q]
      if not len(head_Q):
        break
      queue_P, place_P = _behind(head_Q, end_Q)
      a_P, b_P = band.texts[head_Q[queue_P]], band.texts[place_P]
      roots_P = _roots(self.parent_T, a_P), _roots(self.parent_T, b_P)
      apart_P = roots_P[0] != roots_P[1]
      compared.append(self._compare(a_P[apart_P], b_P[apart_P]))
      open_Q = np.unique(queue_P[apart_P])
      head_Q, end_Q = head_Q[open_Q] + 1, end_Q[open_Q]
    _, place_P = _behind(head_Q, end_Q)
    self.is_cut_T[band.texts[place_P]] = True
    if len(self._apart) < _REMEMBERED:
      self._apart = np.sort(np.concatenate(compared))

  def _compare(self, a_P: np.ndarray, b_P: np.ndarray) -> np.ndarray:
    """Links pairs that are near; returns the others as a * T + b.

    Those that an earlier band had are left out.
    """
    sets = self._index.sets
    pairs_P = a_P * len(sets) + b_P
    is_new_P = ~_contains(self._apart, pairs_P)
    a_P, b_P, pairs_P = a_P[is_new_P], b_P[is_new_P], pairs_P[is_new_P]
    near_P = jaccard(sets, a_P, sets, b_P) >= self._index.threshold
    _link(self.parent_T, a_P[near_P], b_P[near_P])
    return pairs_P[~near_P]


def _behind(
  head_Q: np.ndarray, end_Q: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The queue and the place of all that are behind the heads, (P,) each."""
  size_Q = end_Q - head_Q - 1
  offsets = from_lengths(size_Q)
  queue_P = np.repeat(np.arange(len(head_Q)), size_Q)
  return (
    queue_P,
    head_Q[queue_P] + 1 + np.arange(offsets[-1]) - offsets[queue_P],
  )


def _contains(ascending: np.ndarray, values_P: np.ndarray) -> np.ndarray:
  """(P,) bool, which of the values there are."""
  if not len(ascending):
    return np.zeros(len(values_P), bool)
  places_P = np.searchsorted(ascending, values_P)
  places_P[places_P == len(ascending)] = 0
  return ascending[places_P] == values_P


def _roots(parent_T: np.ndarray, texts_P: np.ndarray) -> np.ndarray:
  """The first text of the cluster of each: follows parents to the end."""
  roots_P = parent_T[texts_P]
  while not np.array_equal(above_P := parent_T[roots_P], roots_P):
    roots_P = above_P
  return roots_P


def _link(parent_T: np.ndarray, a_P: np.ndarray, b_P: np.ndarray) -> None:
  """Joins the clusters of each pair, under the first text of them all."""
  roots, places = np.unique(
    _roots(parent_T, np.concatenate([a_P, b_P])), return_inverse=True
  )
  a_P, b_P = places.reshape(2, -1)
  graph = sparse.coo_array(
    (np.ones(len(a_P)), (a_P, b_P)), shape=(len(roots), len(roots))
  )
  _, part = sparse.csgraph.connected_components(graph, directed=False)
  _, first = np.unique(part, return_index=True)  # roots ascend
  parent_T[roots] = roots[first[part]]
