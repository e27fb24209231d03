"""Text as its bytes: no vocabulary to choose, and nothing to train."""

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data.token_text import SEPARATOR, begins_word, check_special, digest


class ByteTokenizer:
  """UTF-8 bytes as ids 0 to 255, the separator as 256, then special tokens."""

  vocab_size = 257
  separator_id = 256
  start_id = 256
  unknown_id: int | None = None

  def __init__(self, special_tokens: Sequence[str] = ()) -> None:
    """Makes one.

    Args:
      special_tokens: spellings of tokens that no text has.

    Raises:
      UserError: a special token that cannot be one.
    """
    check_special(special_tokens)
    self._added = [token for token in special_tokens if token != SEPARATOR]
    self.vocab_size = 257 + len(self._added)
    names = [SEPARATOR, *self._added]
    self.special_tokens: Mapping[str, int] = {
      name: 256 + i for i, name in enumerate(names)
    }
    self.special_ids = np.arange(256, self.vocab_size, dtype=np.int32)
    self.token_bytes = np.array([1] * 256 + [0] * len(names), np.int32)
    words = [begins_word(bytes([byte])) for byte in range(256)]
    self.starts_word = np.array(words + [True] * len(names))
    self._names = dict(enumerate(self._added, start=257))
    self.digest = digest(self.to_json())

  def encode(self, text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [self.encode(text) for text in texts]

  def id_of(self, token: str) -> int | None:
    return self.special_tokens.get(token)

  def decode(self, ids: Iterable[int]) -> str:
    return b''.join(
      bytes([i]) if i < 256 else self._names.get(int(i), '').encode()
      for i in ids
    ).decode(errors='replace')

  def to_json(self) -> str:
    if not self._added:
      return json.dumps({'kind': 'byte'})
    return json.dumps({'kind': 'byte', 'special_tokens': self._added})
