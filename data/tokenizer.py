"""Text to token ids and back: bytes, or byte-level BPE."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

SEPARATOR = '<|endoftext|>'


class Tokenizer(Protocol):
  """What every tokenizer offers.

  Attributes:
    vocab_size: number of ids, the separator's included.
    separator_id: the id that stands before every document; no text has it.
    token_bytes: int32 array of vocab_size, the bytes of UTF-8 text that each id
      stands for; 0 for the separator.
    digest: of all that decides the ids of a text.
  """

  vocab_size: int
  separator_id: int
  token_bytes: np.ndarray
  digest: str

  def encode(self, text: str) -> np.ndarray:
    """The ids of `text` as int32, without a separator."""

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    """`encode` of each text, in parallel."""

  def decode(self, ids: Iterable[int]) -> str:
    """The text of `ids`: separators dropped, broken UTF-8 replaced."""

  def to_json(self) -> str:
    """All of the tokenizer, for `tokenizer_from_json`."""


class ByteTokenizer:
  """UTF-8 bytes as ids 0 to 255, and the separator as 256."""

  vocab_size = 257
  separator_id = 256

  def __init__(self) -> None:
    self.token_bytes = np.array([1] * 256 + [0], np.int32)
    self.digest = _digest(self.to_json())

  def encode(self, text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [self.encode(text) for text in texts]

  def decode(self, ids: Iterable[int]) -> str:
    return bytes(i for i in ids if i != self.separator_id).decode(
      errors='replace'
    )

  def to_json(self) -> str:
    return json.dumps({'kind': 'byte'})


class BpeTokenizer:
  """Byte-level BPE of the `tokenizers` library, as GPT-2's."""

  def __init__(self, library_json: str) -> None:
    """Takes what `tokenizers.Tokenizer.to_str` returns."""
    self._json = library_json
    self._library = tokenizers.Tokenizer.from_str(library_json)
    # the separator spelled out in a text is text
    self._library.encode_special_tokens = True
    vocabulary = self._library.get_vocab()
    self.vocab_size = len(vocabulary)
    self.separator_id = vocabulary.pop(SEPARATOR)
    self.token_bytes = np.zeros(self.vocab_size, np.int32)
    for token, index in vocabulary.items():
      self.token_bytes[index] = len(token)  # a character stands for a byte
    self.digest = _digest(self.to_json())

  def encode(self, text: str) -> np.ndarray:
    return np.array(self._library.encode(text).ids, np.int32)

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    found = self._library.encode_batch_fast(list(texts))
    return [np.array(encoding.ids, np.int32) for encoding in found]

  def decode(self, ids: Iterable[int]) -> str:
    kept = [int(i) for i in ids if i != self.separator_id]
    return self._library.decode(kept, skip_special_tokens=False)

  def to_json(self) -> str:
    return json.dumps({'kind': 'bpe', 'tokenizer': json.loads(self._json)})


def train_bpe(texts: Iterable[str], vocab_size: int) -> BpeTokenizer:
  """Trains byte-level BPE; the same texts give the same tokenizer.

  Args:
    texts: read once.
    vocab_size: ids to make, 256 bytes and the separator included; fewer come
      out where the text has too few pairs to merge.
  """
  library = tokenizers.Tokenizer(models.BPE())
  library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  library.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=[SEPARATOR],
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    show_progress=False,
  )
  library.train_from_iterator(texts, trainer)
  return BpeTokenizer(library.to_str())


def tokenizer_from_json(text: str) -> Tokenizer:
  """Rebuilds a tokenizer from its `to_json`."""
  tree = json.loads(text)
  if tree['kind'] == 'byte':
    return ByteTokenizer()
  return BpeTokenizer(json.dumps(tree['tokenizer']))


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
