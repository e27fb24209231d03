"""Texts of one set that are equal, or nearly so.

Both functions give, for each text, the index of the first one like it, so that
the texts to keep are those where `first_T == np.arange(len(first_T))`.

Suffixes: T texts, P pairs, Q queues of texts that agree in a band.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import sparse

from data.near_index import MEMORY, THRESHOLD, Band, NearIndex
from data.shingles import from_lengths, jaccard


def normalize(text: str) -> str:
  """Unicode's form NFC, with one space for every run of white space.

  White space at both ends goes. Case and punctuation stay.
  """
  return ' '.join(unicodedata.normalize('NFC', text).split())


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
  and how much of it is found.

  Args:
    texts: read once.
    threshold: Jaccard similarity from which two texts are near-duplicates.
    memory: bytes of the index to hold in memory.
    folder: for an index above that; None for the system's temporary folder.

  Raises:
    UserError: a threshold that is no similarity above 0.
  """
  index = NearIndex(texts, threshold, memory=memory, folder=folder)
  parent_T = np.arange(len(index))
  for band in index.bands:
    _link_band(index, band, parent_T)
  return _roots(parent_T, np.arange(len(index)))


def _link_band(index: NearIndex, band: Band, parent_T: np.ndarray) -> None:
  """Links near-duplicates among texts that agree in a band.

  The head of every queue of such texts is compared with all those behind it
  and leaves, until what is left of the queue is one cluster. So copies of one
  text, however many, are compared once each and not in all pairs.
  """
  is_new_T = np.ones(len(band.keys), bool)
  is_new_T[1:] = band.keys[1:] != band.keys[:-1]
  head_Q = np.flatnonzero(is_new_T)
  end_Q = np.append(head_Q[1:], len(is_new_T))
  while True:
    waiting_Q = head_Q + 1 < end_Q
    head_Q, end_Q = head_Q[waiting_Q], end_Q[waiting_Q]
    if not len(head_Q):
      return
    size_Q = end_Q - head_Q - 1
    offsets = from_lengths(size_Q)
    queue_P = np.repeat(np.arange(len(head_Q)), size_Q)
    place_P = head_Q[queue_P] + 1 + np.arange(offsets[-1]) - offsets[queue_P]
    a_P, b_P = band.texts[head_Q[queue_P]], band.texts[place_P]
    apart_P = _roots(parent_T, a_P) != _roots(parent_T, b_P)
    a_P, b_P = a_P[apart_P], b_P[apart_P]
    near_P = jaccard(index.sets, a_P, index.sets, b_P) >= index.threshold
    _link(parent_T, a_P[near_P], b_P[near_P])
    open_Q = np.unique(queue_P[apart_P])
    head_Q, end_Q = head_Q[open_Q] + 1, end_Q[open_Q]


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
