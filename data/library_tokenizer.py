"""Tokenizers of the `tokenizers` library: trained here, or imported."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from configs.errors import UserError
from data import fast_bpe
from data.token_text import (
  SEPARATOR,
  begins_word,
  byte_characters,
  check_special,
  digest,
  sizes,
  spelled_text,
)

# Characters encoded before `fast_bpe` is asked, which costs about a second.
_MANY = 2**22
_RARE = 'a\U0010fffd'  # the last character is for private use


class LibraryTokenizer:
  """One of the `tokenizers` library: our byte-level BPE, or an imported one.

  The bytes of a token are exact for byte-level BPE. Of other kinds, which may
  drop or normalize text, they are those of the token as it is spelled, a mark
  of a word's beginning counted as the blank that it stands for.
  """

  def __init__(
    self,
    library_json: str,
    separator: str = SEPARATOR,
    special_tokens: Sequence[str] = (),
  ) -> None:
    """Reads a tokenizer.

    Args:
      library_json: what `tokenizers.Tokenizer.to_str` returns.
      separator: the token that stands before every document.
      special_tokens: spellings of tokens that no text shall have; those that
        the tokenizer does not have come after its last id.

    Raises:
      UserError: this is no tokenizer, or has no such separator, or fails where
        it has no token, or texts have one of the special tokens.
    """
    try:
      self._library = tokenizers.Tokenizer.from_str(library_json)
    except Exception as error:  # the library raises no narrower one
      raise UserError(f'this is no tokenizer.json: {error}') from error
    if special_tokens:
      check_special(special_tokens)
      self._library.add_special_tokens(list(special_tokens))
      library_json = self._library.to_str()
    self._tree = json.loads(library_json)
    if separator not in self._library.get_vocab():
      raise UserError(f'the tokenizer has no token {separator!r}')
    self._separator = separator
    # the separator spelled out in a text is text
    self._library.encode_special_tokens = True
    # prompts are what the caller makes them, at one length
    self._library.no_truncation()
    self._library.no_padding()
    try:
      self._library.encode(_RARE)
    except Exception as error:  # as above
      raise UserError(
        f'the tokenizer cannot encode all texts: {error}'
      ) from error
    self._describe()
    self._check(special_tokens)
    self._seen = 0
    self._fast: Callable[[Sequence[str]], list[np.ndarray]] | None = None
    self.digest = digest(self.to_json())

  def _describe(self) -> None:
    # as the library writes it: files of older layouts lack some of the keys
    tree = json.loads(self._library.to_str())
    vocabulary = self._library.get_vocab()
    self.vocab_size = max(vocabulary.values()) + 1
    self.separator_id = vocabulary[self._separator]
    self.unknown_id = _unknown_id(tree['model'], vocabulary)
    self.start_id = self._own_start()
    added = self._library.get_added_tokens_decoder()
    special = {index for index, token in added.items() if token.special}
    self.special_tokens: Mapping[str, int] = {
      **{added[index].content: index for index in sorted(special)},
      self._separator: self.separator_id,
    }
    text_of = _reader(tree)
    silent = {*self.special_tokens.values(), self.unknown_id}
    texts = {
      index: token.encode() if index in added else text_of(token)
      for token, index in vocabulary.items()
      if index not in silent
    }
    self.token_bytes = sizes(texts, self.vocab_size)
    self.special_ids = np.flatnonzero(self.token_bytes == 0).astype(np.int32)
    begins = _word_rule(tree['model'])
    self.starts_word = np.ones(self.vocab_size, bool)
    for token, index in vocabulary.items():
      if index in texts:
        self.starts_word[index] = begins(token, texts[index])

  def _check(self, special_tokens: Sequence[str]) -> None:
    vocabulary = self._library.get_vocab()
    if len(set(vocabulary.values())) < len(vocabulary):
      raise UserError('the tokenizer has two tokens of one id')
    for token in special_tokens:
      index = self.special_tokens[token]
      if any(index in self.encode(text) for text in (token, f' {token}')):
        raise UserError(
          f'special token {token!r}: texts have it too; spell it in another way'
        )

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
    if self._seen < _MANY:
      self._seen += sum(map(len, texts))
      if self._seen >= _MANY:
        self._fast = fast_bpe.encoder(self._library)
    if self._fast is not None:
      return self._fast(texts)
    found = self._library.encode_batch_fast(
      list(texts), add_special_tokens=False
    )
    return [np.fromiter(encoding.ids, np.int32) for encoding in found]

  def id_of(self, token: str) -> int | None:
    return self._library.token_to_id(token)

  def decode(self, ids: Iterable[int]) -> str:
    kept = [int(i) for i in ids if i != self.separator_id]
    return self._library.decode(kept, skip_special_tokens=False)

  def to_json(self) -> str:
    tree = {'kind': 'library', 'separator': self._separator}
    return json.dumps(tree | {'tokenizer': self._tree})


def train_bpe(
  texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()
) -> LibraryTokenizer:
  """Trains byte-level BPE; the same texts give the same tokenizer.

  Args:
    texts: read once.
    vocab_size: ids to make, 256 bytes, the separator and the special tokens
      included; fewer come out where the text has too few pairs to merge.
    special_tokens: spellings of tokens that no text has; the last ids.

  Raises:
    UserError: the vocabulary is too small, or a special token cannot be one.
  """
  added = [token for token in special_tokens if token != SEPARATOR]
  if vocab_size < 257 + len(added):
    raise UserError(
      f'data.vocab_size = {vocab_size}: at least {257 + len(added)}, which are '
      f'all bytes, the document separator and {len(added)} special tokens'
    )
  library = tokenizers.Tokenizer(models.BPE())
  library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  library.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size - len(added),
    special_tokens=[SEPARATOR],
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    show_progress=False,
  )
  library.train_from_iterator(texts, trainer)
  return LibraryTokenizer(library.to_str(), special_tokens=added)


def _unknown_id(
  model: dict[str, Any], vocabulary: dict[str, int]
) -> int | None:
  """The id for text that a model has no token for."""
  if model['type'] == 'Unigram':
    return model.get('unk_id')
  return vocabulary.get(model.get('unk_token') or '')


def _reader(tree: dict[str, Any]) -> Callable[[str], bytes]:
  """What gives the bytes of a token, for a tokenizer.json."""
  if 'ByteLevel' in json.dumps(tree['decoder']):
    byte_of = {char: byte for byte, char in enumerate(byte_characters())}
    return lambda token: bytes(byte_of.get(char, 0x3F) for char in token)
  if tree['model']['type'] == 'WordPiece':
    prefix = tree['model']['continuing_subword_prefix']
    return lambda token: token.removeprefix(prefix).encode()
  return spelled_text


def _word_rule(model: dict[str, Any]) -> Callable[[str, bytes], bool]:
  """What tells whether a token, of these bytes, begins a word."""
  if model['type'] == 'WordLevel':
    return lambda token, text: True
  if model['type'] == 'WordPiece':
    prefix = model['continuing_subword_prefix']
    return lambda token, text: not token.startswith(prefix)
  return lambda token, text: begins_word(text)
