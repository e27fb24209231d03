"""Models of SentencePiece, by the library that makes them."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from configs.errors import UserError
from data.token_text import (
  SEPARATOR,
  begins_word,
  check_special,
  digest,
  sizes,
  spelled_text,
)


class SentencePieceTokenizer:
  """A `.model` file; its ids are those of the package `sentencepiece`.

  The end of a sentence separates documents; a model without one gets another
  token for that. The bytes of a token are those that it is spelled with, its
  mark of a blank counted as a blank: a model may normalize what it encodes.
  """

  def __init__(self, model: bytes, special_tokens: Sequence[str] = ()) -> None:
    """Reads a model.

    Args:
      model: the bytes of the file.
      special_tokens: spellings of tokens that no text shall have; those that
        are no control tokens of the model come after its last id.

    Raises:
      UserError: this is no model, or `sentencepiece` is not installed, or texts
        have one of the special tokens.
    """
    check_special(special_tokens)
    self._model = model
    self._pieces = pieces = _open(model)
    size = pieces.get_piece_size()
    self._names = [pieces.id_to_piece(i) for i in range(size)]
    control = {
      name: i for i, name in enumerate(self._names) if pieces.is_control(i)
    }
    has_end = pieces.eos_id() >= 0
    wanted = [*special_tokens, *([] if has_end else [SEPARATOR])]
    self._added = [t for t in dict.fromkeys(wanted) if t not in control]
    for token in self._added:
      if token in self._names:
        raise UserError(
          f'special token {token!r}: texts have it too; spell it in another way'
        )
    self._names += self._added
    self.special_tokens: Mapping[str, int] = {
      **control,
      **{token: size + i for i, token in enumerate(self._added)},
    }
    self.vocab_size = len(self._names)
    self.separator_id = (
      pieces.eos_id() if has_end else self.special_tokens[SEPARATOR]
    )
    self.start_id = self.separator_id
    self.unknown_id: int | None = pieces.unk_id()
    texts = {
      i: spelled_text(self._names[i])
      for i in range(size)
      if not (
        pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_unused(i)
      )
    }
    self.token_bytes = sizes(texts, self.vocab_size)
    self.special_ids = np.flatnonzero(self.token_bytes == 0).astype(np.int32)
    self.starts_word = np.array(
      [begins_word(texts.get(i, b'')) for i in range(self.vocab_size)]
    )
    self.digest = digest(self.to_json())

  def encode(self, text: str) -> np.ndarray:
    return self.encode_batch([text])[0]

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    found = self._pieces.encode(list(texts), return_type='numpy')
    return [ids.copy() for ids in found]  # theirs cannot be written to

  def id_of(self, token: str) -> int | None:
    index = self.special_tokens.get(token, self._pieces.piece_to_id(token))
    return index if self._names[index] == token else None

  def decode(self, ids: Iterable[int]) -> str:
    # Names that the model does not know are decoded as they are.
    return self._pieces.decode(
      [self._names[i] for i in ids if i != self.separator_id]
    )

  def to_json(self) -> str:
    return json.dumps(
      {
        'kind': 'sentencepiece',
        'model': base64.b64encode(self._model).decode(),
        'special_tokens': self._added,
      }
    )


def _open(model: bytes) -> Any:
  try:
    import sentencepiece
  except ImportError as error:
    raise UserError(
      'a SentencePiece model needs the extra sentencepiece: run '
      '`pip install -e .[sentencepiece]`'
    ) from error
  if not model:  # which the library takes for none given
    raise UserError('this is no SentencePiece model: it is empty')
  try:
    return sentencepiece.SentencePieceProcessor(model_proto=model)
  except RuntimeError as error:
    raise UserError(f'this is no SentencePiece model: {error}') from error
