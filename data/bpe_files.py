"""Byte-level BPE in the files of others: vocab.json, and ranks of tiktoken."""

import base64
import binascii
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from configs.errors import UserError
from data.library_tokenizer import LibraryTokenizer
from data.token_text import SEPARATOR, byte_characters

SEPARATORS = (SEPARATOR, '</s>', '<|end_of_text|>', '<eos>', '[SEP]')

_CL100K = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_UPPER, _LOWER = (
  r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]',
  r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]',
)
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K = (
  rf'[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDING}'
  rf'|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDING}|\p{{N}}{{1,3}}'
  r'| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
# How texts are cut, by the name of a published encoding; '' as for GPT-2.
PATTERNS = {
  'r50k_base': '',
  'p50k_base': '',
  'cl100k_base': _CL100K,
  'o200k_base': _O200K,
}
_RANKS = 2**31  # ids are int32
_MARKS = ('<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>')
# What a file of ranks does not hold, of those published under these names.
_PUBLISHED = {
  'r50k_base': {SEPARATOR: 50256},
  'p50k_base': {SEPARATOR: 50256},
  'cl100k_base': {
    SEPARATOR: 100257,
    **{mark: 100258 + i for i, mark in enumerate(_MARKS)},
    '<|endofprompt|>': 100276,
  },
  'o200k_base': {SEPARATOR: 199999, '<|endofprompt|>': 200018},
}


def load_vocab_merges(
  vocab: Path, merges: Path, special_tokens: Sequence[str] = ()
) -> LibraryTokenizer:
  """GPT-2's format: ids in a JSON object, and merges in order, one a line.

  Raises:
    UserError: a file is of another format, or its tokens have no separator.
  """
  try:
    model = models.BPE.from_file(str(vocab), str(merges))
  except Exception as error:  # the library raises no narrower one
    raise UserError(f'{vocab} and {merges} are no BPE: {error}') from error
  ids = json.loads(vocab.read_text())
  separator = next((token for token in SEPARATORS if token in ids), SEPARATOR)
  return _byte_level(model, '', [separator], special_tokens)


def load_tiktoken(
  path: Path, special_tokens: Sequence[str] = ()
) -> LibraryTokenizer:
  """A file of ranks: lines of a token in base64 and its rank, which is its id.

  Such a file does not say how texts are cut, nor has it special tokens. So its
  name says that: `cl100k_base.tiktoken` is the published encoding, and
  `NAME.cl100k_base.tiktoken` has other ranks, cut in the same way, and a
  separator after them.

  `tiktoken` merges any two tokens side by side that make a token, the lowest
  rank first and from the left, and takes a piece whole that is a token. The
  library merges listed pairs only. Of a text, what is left of a stretch between
  two tokens' borders is what is left of this stretch alone after as many merges
  in it; so a token is only ever made from the two that it is made from alone.
  These pairs are listed, by rank; where a token cannot be made from any two,
  pieces are looked up whole first. The ids are the same.

  Raises:
    UserError: the name tells of no pattern, or a line is no token and rank.
  """
  name = path.name.removesuffix('.tiktoken')
  encoding = name.rpartition('.')[2]
  if encoding not in PATTERNS:
    raise UserError(
      f'{path.name} does not say how texts are cut: name it '
      f'[NAME.]ENCODING.tiktoken, with one of {", ".join(PATTERNS)}'
    )
  ranks = _read_ranks(path)
  pairs = {token: _made_from(token, ranks) for token in ranks if len(token) > 1}
  by_rank = sorted(pairs, key=ranks.__getitem__)
  own = _PUBLISHED.get(name, {SEPARATOR: max(ranks.values()) + 1})
  table = byte_characters()

  def spell(token: bytes) -> str:
    return ''.join(table[byte] for byte in token)

  model = models.BPE(
    {spell(token): rank for token, rank in ranks.items()} | own,
    [
      (spell(pair[0]), spell(pair[1]))
      for pair in map(pairs.__getitem__, by_rank)
      if pair
    ],
    ignore_merges=not all(pairs.values()),
  )
  return _byte_level(model, PATTERNS[encoding], list(own), special_tokens)


def _byte_level(
  model: models.BPE,
  pattern: str,
  own: Sequence[str],
  special_tokens: Sequence[str],
) -> LibraryTokenizer:
  """A tokenizer of the library; the first of `own` is the separator."""
  library = tokenizers.Tokenizer(model)
  library.pre_tokenizer = pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=not pattern
  )
  if pattern:
    cut = pre_tokenizers.Split(tokenizers.Regex(pattern), 'isolated')
    library.pre_tokenizer = pre_tokenizers.Sequence(
      [cut, library.pre_tokenizer]
    )
  library.decoder = decoders.ByteLevel()
  library.add_special_tokens(list(own))
  return LibraryTokenizer(library.to_str(), own[0], special_tokens)


def _read_ranks(path: Path) -> dict[bytes, int]:
  ranks: dict[bytes, int] = {}
  for number, line in enumerate(path.read_bytes().splitlines(), start=1):
    try:
      token, rank = line.split()
      ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (ValueError, binascii.Error) as error:
      raise UserError(
        f'{path}, line {number}: expected a token in base64 and its rank'
      ) from error
    if not 0 <= int(rank) < _RANKS:
      raise UserError(
        f'{path}, line {number}: rank {int(rank)} is none; ranks are from 0 to '
        f'{_RANKS - 1}'
      )
  missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
  if missing:
    raise UserError(f'{path} has no token for the byte 0x{missing[0]:02X}')
  return ranks


def _made_from(
  token: bytes, ranks: Mapping[bytes, int]
) -> tuple[bytes, bytes] | None:
  """The two tokens that are merged last to make a token from its bytes."""
  parts = [token[i : i + 1] for i in range(len(token))]
  last = None
  while len(parts) > 1:
    made = [a + b for a, b in itertools.pairwise(parts)]
    found = [(ranks[pair], i) for i, pair in enumerate(made) if pair in ranks]
    if not found:
      return None
    _, i = min(found)
    last = parts[i], parts[i + 1]
    parts[i : i + 2] = [made[i]]
  return last
