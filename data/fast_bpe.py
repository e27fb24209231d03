"""Byte-level BPE by the package `fastokens`, where its ids are the same.

The ids of a text are those of its pieces, one after the other. GPT-2's pattern
cuts pieces by the class of each character (letter, number, blank, other) and by
a few ASCII letters after an apostrophe. So two implementations cut alike if
they agree on the class of every character and on every short text of one
character of each class; and pieces are merged alike if every token, and words
made of several, get the same ids. All of this is looked at before it is used.
"""

import functools
import itertools
import json
import logging
import string
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from data.token_text import byte_characters

log = logging.getLogger(__name__)

Encoder = Callable[[Sequence[str]], list[np.ndarray]]

# Code points that have, or may yet get, a class of their own, and some of the
# large blocks: Chinese characters, Hangul, private use. (All others of planes 2
# and 3 are Chinese, 4 to 13 are empty, 15 and 16 are for private use.)
_POINTS = (
  range(0x4E00),
  range(0x4E00, 0xD800, 101),
  range(0xE000, 0xF900, 101),
  range(0xF900, 0x20000),
  range(0x20000, 0x34000, 101),
  range(0xE0000, 0xE0200),
)
# One of each class, and what a pattern might take for another.
_REPRESENTATIVES = "asS'1! \né中²\u00a0\u0301"
_LENGTH = 4  # of texts of representatives
_WORDS = 20_000  # drawn to compare merges
_PIECE = 70_000  # bytes of a word longer than any


def encoder(library: tokenizers.Tokenizer) -> Encoder | None:
  """What encodes texts as a tokenizer does, or None if there is no such.

  Args:
    library: whose special tokens, spelled out in a text, are text.
  """
  tree = json.loads(library.to_str())
  if not _is_plain(tree):
    return None
  try:
    fast = _open(tree)
  except (ImportError, ValueError):  # not installed, or not of its kinds
    return None
  if _cuts_alike() and _agree(library, fast, _words(library)):
    return fast
  log.warning('fastokens makes other ids than tokenizers does: it is not used')
  return None


def _is_plain(tree: dict) -> bool:
  """Whether this is byte-level BPE with GPT-2's pattern and nothing else."""
  model = tree['model']
  options = ('dropout', 'unk_token', 'byte_fallback', 'ignore_merges')
  affixes = ('continuing_subword_prefix', 'end_of_word_suffix')
  cutter = tree['pre_tokenizer'] or {}
  return (
    model['type'] == 'BPE'
    and not any(model.get(key) for key in options + affixes)
    and set(byte_characters()) <= model['vocab'].keys()
    and tree['normalizer'] is None
    and cutter.get('type') == 'ByteLevel'
    and cutter['use_regex']
    and not cutter['add_prefix_space']
    and all(token['special'] for token in tree['added_tokens'])
  )


def _open(tree: dict) -> Encoder:
  """The same BPE, without tokens that no text has."""
  import fastokens

  bare = tree | {'added_tokens': [], 'post_processor': None}
  fast = fastokens.Tokenizer.from_json_str(json.dumps(bare))

  def encode(texts: Sequence[str]) -> list[np.ndarray]:
    ids, bounds = fast.encode_batch_flat(list(texts))
    # Their ids are unsigned, and below 2^31; a copy can be written to.
    ids_T = np.frombuffer(ids, np.int32).copy()
    bounds_P = np.frombuffer(bounds, np.uint64).tolist()
    return [ids_T[start:stop] for start, stop in itertools.pairwise(bounds_P)]

  return encode


def _agree(
  library: tokenizers.Tokenizer, fast: Encoder, texts: Iterable[str]
) -> bool:
  texts = list(texts)
  theirs = library.encode_batch_fast(texts, add_special_tokens=False)
  pairs = zip(theirs, fast(texts), strict=True)
  return all(their.ids == ours.tolist() for their, ours in pairs)


def _words(library: tokenizers.Tokenizer) -> list[str]:
  """Every token as a text, words of several letters' tokens, and a long one."""
  tokens = sorted(library.get_vocab())
  texts = [library.decoder.decode([token]) for token in tokens]
  letters = [text for text in texts if text.isalpha()] or ['a']
  draw = np.random.Generator(np.random.Philox(0))
  chosen_WxP = draw.integers(len(letters), size=(_WORDS, 4))
  words = [''.join(letters[i] for i in row) for row in chosen_WxP]
  long = ''.join(words)[:_PIECE]
  return [*texts, *words, long, ' ' * _PIECE, '!' * _PIECE]


@functools.cache
def _cuts_alike() -> bool:
  """Whether texts are cut into the same pieces, by a BPE that shows the cuts.

  It has a token for a letter, or one of another class, with the first byte of
  whatever follows in the same piece.
  """
  alphabet = byte_characters()
  firsts = [alphabet[ord(char)] for char in string.ascii_letters + "'1! \n"]
  pairs = list(itertools.product(firsts, alphabet))
  vocabulary = alphabet + [first + second for first, second in pairs]
  library = tokenizers.Tokenizer(
    models.BPE({token: i for i, token in enumerate(vocabulary)}, pairs)
  )
  library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  library.decoder = decoders.ByteLevel()
  fast = _open(json.loads(library.to_str()))
  return _agree(library, fast, _every_class()) and _agree(
    library, fast, _every_order()
  )


def _every_class() -> list[str]:
  """Each character after one of each class, with which it may be a piece."""
  points = list(itertools.chain(*_POINTS))
  return [
    ''.join(f'a{chr(p)}1{chr(p)}!{chr(p)} ' for p in points[i : i + 1024])
    for i in range(0, len(points), 1024)
  ]


def _every_order() -> list[str]:
  """Every short text of representatives, all in one, and contractions."""
  orders = itertools.product(_REPRESENTATIVES, repeat=_LENGTH)
  texts = [''.join(order) for order in orders]
  letters = itertools.product(string.ascii_letters, repeat=2)
  contractions = [f"'{first}{second}a" for first, second in letters]
  return [*texts, ''.join(texts), *contractions]
