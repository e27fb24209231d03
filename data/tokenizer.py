"""Text to token ids and back: bytes, BPE trained here, or what others made."""

import base64
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from configs.errors import UserError
from data.bpe_files import SEPARATORS, load_tiktoken, load_vocab_merges
from data.byte_tokenizer import ByteTokenizer
from data.library_tokenizer import LibraryTokenizer, train_bpe
from data.sentencepiece_tokenizer import SentencePieceTokenizer
from data.token_text import SEPARATOR

__all__ = [
  'SEPARATOR',
  'ByteTokenizer',
  'LibraryTokenizer',
  'SentencePieceTokenizer',
  'Tokenizer',
  'check_covers',
  'load_tokenizer',
  'tokenizer_from_json',
  'train_bpe',
]

log = logging.getLogger(__name__)

_FILE = 'tokenizer.json'
_KINDS = (
  'a tokenizer.json, a SentencePiece .model, a .tiktoken file of ranks, a '
  "vocab.json with its merges.txt, or a folder with one of them; 'bpe' trains "
  "one, 'byte' needs none"
)
# Characters with every byte that UTF-8 has, as a first one and as another.
_EVERY_BYTE = ''.join(
  chr(point)
  for point in (
    *range(0x801),
    *range(0x1000, 0x10001, 0x1000),
    *range(0x40000, 0x110000, 0x40000),
  )
)
_CHUNK = 512  # texts encoded together
_REPLACEMENT = '\ufffd'  # what stands for broken UTF-8


class Tokenizer(Protocol):
  """What every tokenizer offers.

  Attributes:
    vocab_size: number of ids, the separator's and special tokens' included.
    separator_id: the id that stands before every document; no text has it.
    start_id: the id that a text begins with for a model: the separator, unless
      an imported tokenizer puts another one first (BERT, Llama).
    unknown_id: the id of text that has no token; None where there is no such.
    special_tokens: ids of the tokens that no text has, by their spelling; one
      spelled out in a text is text.
    special_ids: int32, ascending: the ids that stand for no text, which are
      those of special tokens, the separator's, the unknown one, and gaps.
    token_bytes: int32 array of vocab_size, the bytes of UTF-8 text that each id
      stands for; 0 for special ids.
    starts_word: bool array of vocab_size, whether a token begins a word. With
      WordPiece those do that have no `##`, with words as tokens all; otherwise
      see `data.token_text.begins_word`, which for bytes and for tokens that
      begin within a character is a best effort. Special ids do. The first token
      of a text does too, whatever this says.
    digest: of all that decides the ids of a text.
  """

  vocab_size: int
  separator_id: int
  start_id: int
  unknown_id: int | None
  special_tokens: Mapping[str, int]
  special_ids: np.ndarray
  token_bytes: np.ndarray
  starts_word: np.ndarray
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


def tokenizer_from_json(text: str) -> Tokenizer:
  """Rebuilds a tokenizer from its `to_json`."""
  tree = json.loads(text)
  if tree['kind'] == 'byte':
    return ByteTokenizer(tree.get('special_tokens', ()))
  if tree['kind'] == 'sentencepiece':
    model = base64.b64decode(tree['model'])
    return SentencePieceTokenizer(model, tree['special_tokens'])
  return LibraryTokenizer(json.dumps(tree['tokenizer']), tree['separator'])


def load_tokenizer(name: str, special_tokens: Sequence[str] = ()) -> Tokenizer:
  """A tokenizer from the files of others; its vocabulary is what it is.

  Args:
    name: a tokenizer.json, a SentencePiece model (`.model`), ranks of tiktoken
      (`.tiktoken`, see `data.bpe_files.load_tiktoken`), a `vocab.json` with the
      `merges.txt` beside it; or a folder with one of these.
    special_tokens: spellings of tokens that no text has. The tokenizer's own
      are taken, others come after its last id.

  Raises:
    UserError: there is no such file, or it is none of these, or a special token
      is one that texts have.
  """
  path = Path(name).expanduser()
  try:
    return _load(_find(path), special_tokens)
  except UserError as error:
    raise UserError(f'data.tokenizer = {name!r}: {error}') from error


def check_covers(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
  """Looks whether a tokenizer has tokens for all of these texts.

  Costs nothing where it has one for every byte. Otherwise the texts are read,
  once; evenly spread ones are enough to tell what share of them is lost.

  Raises:
    UserError: the tokenizer leaves out a character, without a trace. One that
      has a token for the unknown only logs a warning, with its share.
  """
  if tokenizer.decode(tokenizer.encode(_EVERY_BYTE)) == _EVERY_BYTE:
    return
  if tokenizer.unknown_id is None:
    for character in sorted(set().union(*texts)):
      _check_character(tokenizer, character)
    return
  unknown = total = 0
  for chunk in _chunks(texts):
    ids = np.concatenate(tokenizer.encode_batch(chunk))
    unknown += int(np.count_nonzero(ids == tokenizer.unknown_id))
    total += len(ids)
  if unknown:
    log.warning(
      'data.tokenizer: %.3g%% of the tokens (%d of %d) are the unknown one: '
      'what they stand for is lost',
      100 * unknown / total,
      unknown,
      total,
    )


def _check_character(tokenizer: Tokenizer, character: str) -> None:
  if character.isspace() or character == _REPLACEMENT:
    return
  text = tokenizer.decode(tokenizer.encode(character))
  if not text.strip() or _REPLACEMENT in text:
    raise UserError(
      f'data.tokenizer: it has no token for {character!r} (U+'
      f'{ord(character):04X}, bytes {character.encode().hex(" ")}) and none '
      "for the unknown, so texts lose it; choose another, such as 'bpe'"
    )


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
  iterator = iter(texts)
  while chunk := list(itertools.islice(iterator, _CHUNK)):
    yield chunk


def _find(path: Path) -> Path:
  """The file of a tokenizer: itself, or the first one in a folder."""
  if path.is_file():
    return path
  if not path.is_dir():
    raise UserError(f'no such file or folder; expected {_KINDS}')
  for pattern in (_FILE, '*vocab.json', '*.model', '*.tiktoken'):
    if found := sorted(path.glob(pattern)):
      return found[0]
  raise UserError(f'the folder has no tokenizer; expected {_KINDS}')


def _load(path: Path, special_tokens: Sequence[str]) -> Tokenizer:
  if path.suffix == '.model':
    return SentencePieceTokenizer(path.read_bytes(), special_tokens)
  if path.suffix == '.tiktoken':
    return load_tiktoken(path, special_tokens)
  if path.name.endswith('vocab.json'):
    merges = path.with_name(path.name[: -len('vocab.json')] + 'merges.txt')
    if not merges.is_file():
      raise UserError(f'{merges.name} is not beside {path.name}')
    return load_vocab_merges(path, merges, special_tokens)
  if path.suffix == '.json':
    return _read_library(path, special_tokens)
  raise UserError(f'expected {_KINDS}')


def _read_library(
  path: Path, special_tokens: Sequence[str]
) -> LibraryTokenizer:
  """A tokenizer.json, and what ends a text by the settings beside it.

  Without settings that is a known token, or one that is added.
  """
  try:
    text = path.read_text('utf-8')
  except UnicodeDecodeError as error:
    raise UserError(f'{path} is no tokenizer.json: it is not UTF-8') from error
  end = _own_end(path.with_name('tokenizer_config.json'))
  if not end:
    try:
      added = _json(path).get('added_tokens') or ()
      special = {token['content'] for token in added if token['special']}
    except (KeyError, TypeError) as error:
      raise UserError(
        f'{path}: each of added_tokens must have content and special'
      ) from error
    end = next((token for token in SEPARATORS if token in special), None)
  wanted = [*special_tokens, *([] if end else [SEPARATOR])]
  return LibraryTokenizer(text, end or SEPARATOR, list(dict.fromkeys(wanted)))


def _own_end(settings: Path) -> str | None:
  """What ends a text by the settings of a tokenizer, if they tell."""
  end = _json(settings).get('eos_token')
  if isinstance(end, dict):
    end = end.get('content', end)
  if end is not None and not isinstance(end, str):
    raise UserError(
      f'{settings}: eos_token = {json.dumps(end)}: expected the token, or an '
      'object with its content'
    )
  return end


def _json(path: Path) -> dict[str, Any]:
  """A JSON object; nothing where there is none."""
  try:
    return dict(json.loads(path.read_text()))
  except (OSError, ValueError, TypeError):
    return {}
