"""What tokens stand for, which every kind of tokenizer needs to know."""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from configs.errors import UserError

SEPARATOR = '<|endoftext|>'
BLANK_MARK = '\u2581'  # of SentencePiece

_BYTE = re.compile(r'<0x([0-9A-F]{2})>')
# Bytes that begin a character of which the token holds no more: those of
# scripts with letters and with blanks between words.
_BEGIN_LETTERS = frozenset([*range(0xC3, 0xE2), *range(0xEA, 0xEE)])
# Scripts without blanks between words: kana, and Chinese characters.
_NO_BLANKS = (
  range(0x3040, 0x3100),
  range(0x3400, 0x4DC0),
  range(0x4E00, 0xA000),
  range(0xF900, 0xFB00),
  range(0x20000, 0x40000),
)


def begins_word(text: bytes) -> bool:
  """Whether a token begins a word, judged by its own first character.

  It does unless that character is a letter, a number or a combining mark, other
  than kana and Chinese characters, which have no blanks between words. So
  ` the` begins a word, `ing` does not, `,` does, and `word` after `(` goes with
  it. Of a character that is cut off, the first byte decides, as most characters
  do that begin with it; a byte from within a character begins nothing.
  """
  if not text:
    return True
  first = text[0]
  if 0x80 <= first < 0xC0:
    return False
  size = 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
  try:
    character = text[:size].decode()
  except UnicodeDecodeError:
    return first not in _BEGIN_LETTERS
  if any(ord(character) in block for block in _NO_BLANKS):
    return True
  return unicodedata.category(character)[0] not in 'LMN'


def byte_characters() -> list[str]:
  """The character that byte-level BPE writes for each byte.

  Printable ones of Latin-1 stand for themselves, the others for 256, 257, ...
  in order (Radford et al. 2019, whose code calls it `bytes_to_unicode`).
  """
  kept = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
  free = itertools.count(256)
  return [chr(byte if byte in kept else next(free)) for byte in range(256)]


def spelled_text(token: str) -> bytes:
  """Bytes of a SentencePiece token.

  Its mark of a blank is a blank, and one such as <0x0A> is that byte.
  """
  if found := _BYTE.fullmatch(token):
    return bytes.fromhex(found[1])
  return token.replace(BLANK_MARK, ' ').encode()


def sizes(texts: Mapping[int, bytes], vocab_size: int) -> np.ndarray:
  """int32 array of vocab_size: bytes of each id's text, 0 where it has none."""
  token_bytes_V = np.zeros(vocab_size, np.int32)
  for index, text in texts.items():
    token_bytes_V[index] = len(text)
  return token_bytes_V


def check_special(tokens: Sequence[str]) -> None:
  """Raises UserError unless tokens are distinct and of printable ASCII."""
  for token in tokens:
    if not token or not token.isascii() or not token.isprintable():
      raise UserError(f'special token {token!r}: expected printable ASCII')
    if list(tokens).count(token) > 1:
      raise UserError(f'special token {token!r} is there twice')


def digest(text: str) -> str:
  """SHA-256 of a tokenizer's JSON."""
  return hashlib.sha256(text.encode()).hexdigest()
