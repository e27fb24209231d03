"""Text to token ids and back: bytes, BPE, or what came with other weights."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from configs.errors import UserError

SEPARATOR = '<|endoftext|>'


class Tokenizer(Protocol):
  """What every tokenizer offers.

  Attributes:
    vocab_size: number of ids, the separator's included.
    separator_id: the id that stands before every document; no text has it.
    start_id: the id that a text begins with for a model: the separator, unless
      an imported tokenizer puts another one first (BERT, Llama).
    token_bytes: int32 array of vocab_size, the bytes of UTF-8 text that each id
      stands for; 0 for the separator.
    digest: of all that decides the ids of a text.
  """

  vocab_size: int
  separator_id: int
  start_id: int
  token_bytes: np.ndarray
  digest: str

  def encode(self, text: str) -> np.ndarray:
    """The ids of `text` as int32, without a separator."""

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    """`encode` of each text, in parallel."""

  def id_of(self, token: str) -> int | None:
    """The id of a token as it is spelled, such as '[MASK]'."""

  def decode(self, ids: Iterable[int]) -> str:
    """The text of `ids`: separators dropped, broken UTF-8 replaced."""

  def to_json(self) -> str:
    """All of the tokenizer, for `tokenizer_from_json`."""


class ByteTokenizer:
  """UTF-8 bytes as ids 0 to 255, and the separator as 256."""

  vocab_size = 257
  separator_id = 256
  start_id = 256

  def __init__(self) -> None:
    self.token_bytes = np.array([1] * 256 + [0], np.int32)
    self.digest = _digest(self.to_json())

  def encode(self, text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [self.encode(text) for text in texts]

  def id_of(self, token: str) -> int | None:
    return None

  def decode(self, ids: Iterable[int]) -> str:
    return bytes(i for i in ids if i < self.separator_id).decode(
      errors='replace'
    )

  def to_json(self) -> str:
    return json.dumps({'kind': 'byte'})


class LibraryTokenizer:
  """One of the `tokenizers` library: our byte-level BPE, or an imported one.

  The bytes of a token are exact for byte-level BPE. Of other kinds, which may
  drop or normalize text, they are those of the token as it is spelled, a mark
  of a word's beginning counted as the blank that it stands for.
  """

  def __init__(self, library_json: str, separator: str = SEPARATOR) -> None:
    """Reads a tokenizer.

    Args:
      library_json: what `tokenizers.Tokenizer.to_str` returns.
      separator: the token that stands before every document.

    Raises:
      UserError: this is no tokenizer, or has no such token.
    """
    try:
      self._library = tokenizers.Tokenizer.from_str(library_json)
    except Exception as error:  # the library raises no narrower one
      raise UserError(f'this is no tokenizer.json: {error}') from error
    self._json = library_json
    self._separator = separator
    # the separator spelled out in a text is text
    self._library.encode_special_tokens = True
    # prompts are what the caller makes them, at one length
    self._library.no_truncation()
    self._library.no_padding()
    vocabulary = self._library.get_vocab()
    if separator not in vocabulary:
      raise UserError(f'the tokenizer has no token {separator!r}')
    self.vocab_size = max(vocabulary.values()) + 1
    self.separator_id = vocabulary[separator]
    self.start_id = self._own_start()
    added = self._library.get_added_tokens_decoder()
    special = {index for index, token in added.items() if token.special}
    byte_level = 'ByteLevel' in json.dumps(json.loads(library_json)['decoder'])
    self.token_bytes = np.zeros(self.vocab_size, np.int32)
    for token, index in vocabulary.items():
      if index not in special:
        size = len(token) if byte_level else _spelled_bytes(token)
        self.token_bytes[index] = size
    self.digest = _digest(self.to_json())

  def _own_start(self) -> int:
    plain, marked = (
      self._library.encode('a', add_special_tokens=added).ids
      for added in (False, True)
    )
    first = marked[:1]
    return self.separator_id if first == plain[:1] else first[0]

  def encode(self, text: str) -> np.ndarray:
    found = self._library.encode(text, add_special_tokens=False)
    return np.array(found.ids, np.int32)

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    found = self._library.encode_batch_fast(
      list(texts), add_special_tokens=False
    )
    return [np.array(encoding.ids, np.int32) for encoding in found]

  def id_of(self, token: str) -> int | None:
    return self._library.token_to_id(token)

  def decode(self, ids: Iterable[int]) -> str:
    kept = [int(i) for i in ids if i != self.separator_id]
    return self._library.decode(kept, skip_special_tokens=False)

  def to_json(self) -> str:
    tree = {'kind': 'library', 'separator': self._separator}
    return json.dumps(tree | {'tokenizer': json.loads(self._json)})


def train_bpe(texts: Iterable[str], vocab_size: int) -> LibraryTokenizer:
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
  return LibraryTokenizer(library.to_str())


def tokenizer_from_json(text: str) -> Tokenizer:
  """Rebuilds a tokenizer from its `to_json`."""
  tree = json.loads(text)
  if tree['kind'] == 'byte':
    return ByteTokenizer()
  return LibraryTokenizer(json.dumps(tree['tokenizer']), tree['separator'])


def _spelled_bytes(token: str) -> int:
  """Bytes of a WordPiece, or of a SentencePiece with its mark of a blank.

  A SentencePiece such as <0x0A> is one byte that has no token of its own.
  """
  if re.fullmatch(r'<0x[0-9A-F]{2}>', token):
    return 1
  return len(token.removeprefix('##').replace('\u2581', ' ').encode())


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
