"""Texts as hashed words and n-grams, so that they can be compared in bulk.

A word is a run of letters, digits and underscores of the lower-cased text in
Unicode's form NFC. A text without a word is one word, its characters without
the white space around them. Scripts that put no spaces between words have long
words here, and only long copies of them are found.

Hashes have 64 bits: two given n-grams share one with a probability of about
2^-62, so m distinct ones hold a colliding pair with less than m^2 / 2^62.

Suffixes: T texts, W words, G n-grams, P pairs; W and G run over all texts.
"""

import dataclasses
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

SHINGLE = 5  # words, for near-duplicates

_WORD = re.compile(r'\w+')
_MARKS = 30  # in a row, at most
# all combining marks are among what this matches; see `nfc`
_LONG_RUN = re.compile(rf'[^\x00-\u02ff\w\s]{{{_MARKS + 1},}}')
_CHUNK = 2**19  # characters hashed together: what follows stays in the cache
_MEMO = 2**18  # words whose hashes are remembered, some 50 MB
_PAIRED = 2**20  # shingles of pairs compared together
_SEED = 20  # of the coefficients, which decide every hash


@dataclasses.dataclass(frozen=True)
class Ragged:
  """Values of several texts: those of t are `values[offsets[t]:offsets[t+1]]`.

  Attributes:
    values: uint64, all texts one after the other.
    offsets: int64, one more than there are texts.
  """

  values: np.ndarray
  offsets: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets) - 1

  @property
  def lengths_T(self) -> np.ndarray:
    return np.diff(self.offsets)

  def take(self, index_P: np.ndarray) -> 'Ragged':
    """The values of the texts `index_P`, in that order."""
    lengths_P = self.offsets[index_P + 1] - self.offsets[index_P]
    offsets = from_lengths(lengths_P)
    shift_P = self.offsets[index_P] - offsets[:-1]
    places = np.arange(offsets[-1]) + np.repeat(shift_P, lengths_P)
    return Ragged(self.values[places], offsets)


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Some texts that follow each other, and the hashes of their words.

  Attributes:
    first: the index of the first one in the whole.
    texts: as they came.
    words: their hashed words; every text has at least one.
  """

  first: int
  texts: Sequence[str]
  words: Ragged


def nfc(text: str) -> str:
  """Unicode's form NFC, in a time that grows with the text only.

  The time of NFC grows with the square of a run of combining marks. So one of
  more than 30 is cut first, by U+034F after every 30 of them (UAX #15, section
  13, "Stream-Safe Text Format"); no language has such runs.
  """
  if text.isascii():
    return text
  return unicodedata.normalize('NFC', _LONG_RUN.sub(_cut_marks, text))


def words(text: str) -> list[str]:
  """The words that are compared; never none."""
  folded = _fold(text)
  return _WORD.findall(folded) or [folded.strip()]


def chunks(texts: Iterable[str]) -> Iterator[Chunk]:
  """Hashes the words of `texts`, half a million characters at a time."""
  memo = _WordHashes()
  first = 0
  for some in _by_size(texts):
    split = [words(text) for text in some]
    offsets = from_lengths(np.array([len(each) for each in split]))
    stream = map(memo.__getitem__, itertools.chain.from_iterable(split))
    hashes_W = np.fromiter(stream, np.uint64, offsets[-1])
    yield Chunk(first, some, Ragged(hashes_W, offsets))
    first += len(some)


def grams(words: Ragged, n: int) -> Ragged:
  """Hashes of every n-gram of each text, in order.

  A text of fewer words is one gram, of all its words. The hash is multilinear,
  sum of c_j w_j mod 2^64 (Lemire & Kaser 2014, "Strongly universal string
  hashing is fast"), with odd c_j, then mixed. That of m words is the same
  whatever n is.
  """
  starts_T = words.offsets[:-1]
  lengths_T = words.lengths_T
  total_W = np.zeros_like(words.values)
  whole_T = np.zeros(len(words), np.uint64)  # of texts below n words
  size = len(total_W)
  for place, factor in enumerate(_odd_factors(_SEED, n)[:size]):
    total_W[: size - place] += factor * words.values[place:]
    ends_T = lengths_T == place + 1
    whole_T[ends_T] = total_W[starts_T[ends_T]]
  short_T = lengths_T < n
  total_W[starts_T[short_T]] = whole_T[short_T]
  counts_T = np.maximum(lengths_T - n + 1, 1)
  place_W = np.arange(size) - np.repeat(starts_T, lengths_T)
  is_start_W = place_W < np.repeat(counts_T, lengths_T)
  return Ragged(mix(total_W[is_start_W]), from_lengths(counts_T))


def shingle_sets(chunk: Chunk) -> Ragged:
  """The distinct 5-grams of each text, ascending (see `grams`).

  A text below five words is one shingle: its characters, lower-cased and with
  one space for every run of white space. So `a + b` is not `a - b`.
  """
  found = grams(chunk.words, SHINGLE)
  short_T = np.flatnonzero(chunk.words.lengths_T < SHINGLE)
  found.values[found.offsets[short_T]] = [
    _hash(' '.join(_fold(chunk.texts[index]).split()))
    for index in short_T.tolist()
  ]
  text_G = np.repeat(np.arange(len(found)), found.lengths_T)
  order_G = np.lexsort((found.values, text_G))
  values_G = found.values[order_G]
  is_new_G = np.ones(len(values_G), bool)
  is_new_G[1:] = (values_G[1:] != values_G[:-1]) | (text_G[1:] != text_G[:-1])
  lengths_T = np.add.reduceat(is_new_G, found.offsets[:-1], dtype=np.int64)
  return Ragged(values_G[is_new_G], from_lengths(lengths_T))


def fingerprints(sets: Ragged) -> np.ndarray:
  """A hash of each set, (T,) uint64: the sum of its mixed members."""
  return np.add.reduceat(mix(sets.values), sets.offsets[:-1])


def jaccard(
  a: Ragged, index_a_P: np.ndarray, b: Ragged, index_b_P: np.ndarray
) -> np.ndarray:
  """|A & B| / |A | B| of the shingle sets of each pair, (P,) float64."""
  found_P = np.empty(len(index_a_P))
  sizes_P = _lengths(a, index_a_P) + _lengths(b, index_b_P)
  for block in blocks(sizes_P, _PAIRED):
    common_P = _num_common(a, index_a_P[block], b, index_b_P[block])
    found_P[block] = common_P / (sizes_P[block] - common_P)
  return found_P


def blocks(sizes_P: np.ndarray, limit: int) -> Iterator[slice]:
  """Parts of what has these sizes, each of `limit` in all or of one item."""
  ends_P = np.cumsum(sizes_P)
  begin = 0
  while begin < len(ends_P):
    most = ends_P[begin] - sizes_P[begin] + limit
    end = max(begin + 1, int(np.searchsorted(ends_P, most, 'right')))
    yield slice(begin, end)
    begin = end


def from_lengths(lengths_T: np.ndarray) -> np.ndarray:
  """Offsets of texts that follow each other."""
  return np.concatenate([[0], np.cumsum(lengths_T, dtype=np.int64)])


def mix(values: np.ndarray) -> np.ndarray:
  """A bijection of 64 bits that leaves no linear relation (SplitMix64)."""
  values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return values ^ (values >> np.uint64(31))


class _WordHashes(dict[str, int]):
  """64 bits of BLAKE2b of each word, remembered while there is room."""

  def __missing__(self, word: str) -> int:
    if len(self) >= _MEMO:
      self.clear()
    self[word] = _hash(word)
    return self[word]


def _hash(text: str) -> int:
  encoded = text.encode(errors='surrogatepass')
  digest = hashlib.blake2b(encoded, digest_size=8).digest()
  return int.from_bytes(digest, 'little')


def _fold(text: str) -> str:
  return nfc(text).lower()


def _cut_marks(run: re.Match[str]) -> str:
  parts = []
  marks = 0
  for char in run[0]:
    marks = marks + 1 if unicodedata.combining(char) else 0
    if marks > _MARKS:
      parts.append('\u034f')
      marks = 1
    parts.append(char)
  return ''.join(parts)


def _by_size(texts: Iterable[str]) -> Iterator[list[str]]:
  some: list[str] = []
  size = 0
  for text in texts:
    some.append(text)
    size += len(text) + 1  # many empty texts fill a chunk, too
    if size >= _CHUNK:
      yield some
      some, size = [], 0
  if some:
    yield some


def _odd_factors(seed: int, count: int) -> np.ndarray:
  return np.random.PCG64(seed).random_raw(count) | np.uint64(1)


def _lengths(sets: Ragged, index_P: np.ndarray) -> np.ndarray:
  return sets.offsets[index_P + 1] - sets.offsets[index_P]


def _num_common(
  a: Ragged, index_a_P: np.ndarray, b: Ragged, index_b_P: np.ndarray
) -> np.ndarray:
  """Members that both sets of each pair have.

  Each set of `a` is sorted in once, however many pairs it is part of.
  """
  texts, place_P = np.unique(index_a_P, return_inverse=True)
  sets, other = a.take(texts), b.take(index_b_P)
  salt = mix(np.arange(1, len(texts) + 1, dtype=np.uint64))
  members = np.sort(sets.values ^ np.repeat(salt, sets.lengths_T))
  sought = other.values ^ np.repeat(salt[place_P], other.lengths_T)
  found = np.searchsorted(members, sought)
  found[found == len(members)] = 0
  is_common = members[found] == sought
  return np.add.reduceat(is_common, other.offsets[:-1], dtype=np.int64)
