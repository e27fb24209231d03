"""Controlled changes to the train documents, for studies: virtual, recorded.

What is changed is decided for each document by a fraction u in [0, 1), drawn
from (seed, what is changed, the document's number) alone: it is changed where u
is below the share. So a larger share changes the same documents and more, one
change does not move another, and how the text is read plays no part.

In this order: documents are left out, labels changed, words shuffled; then
those that are repeated, and canaries, are put in at drawn places. No text is
copied: the result is an array of document numbers, and rows are changed as
they are read.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tqdm

from configs import tree
from configs.errors import UserError
from data.rows import Row, Rows
from data.splits import stable_hash

CANARY_PREFIX = 'The random number is '
CANARY_SPACE = 10**9  # canaries that there could be: nine digits

_SHARES = ('duplicate_share', 'label_noise', 'corrupt_share', 'drop_share')
_MOST_CANARIES = 10**6
_EXAMPLES = 3  # recorded of each change
_EXAMPLE_LENGTH = 200  # characters
_LISTED = 8  # values or fields that an error names
_WORD = re.compile(r'\S+')


@dataclasses.dataclass(frozen=True)
class InterventionConfig:
  """The `data.interventions` section of a config.

  Attributes:
    seed: of every choice.
    duplicate_share: of documents that are repeated (Lee et al. 2022,
      arXiv:2107.06499; Hernandez et al. 2022, arXiv:2205.10487).
    duplicate_times: how often each of those is there in all.
    canaries: random sequences that are put in as documents of their own, to
      measure memorization (Carlini et al. 2019, arXiv:1802.08232).
    canary_times: canary i is there canary_times[i % len(canary_times)] times.
    label_noise: share of the documents with a `label_field` whose value there
      becomes another one that the field has, each as likely. A line of the text
      that is the old value and nothing else becomes the new one.
    label_field: such as library.
    corrupt_share: of documents whose words are shuffled: runs of characters
      other than white space change places, white space stays (as in Sinha et
      al. 2021, arXiv:2104.06644). Bytes and word counts stay as they were.
    drop_field: with `drop_value`: the documents whose field has that value.
    drop_value: compared as text.
    drop_share: of those, which are left out.
  """

  seed: int = 0
  duplicate_share: float = 0.0
  duplicate_times: int = 1
  canaries: int = 0
  canary_times: tuple[int, ...] = (1,)
  label_noise: float = 0.0
  label_field: str = ''
  corrupt_share: float = 0.0
  drop_field: str = ''
  drop_value: str = ''
  drop_share: float = 0.0

  def validate(self) -> None:
    """Raises UserError for a value that cannot work."""
    for key in _SHARES:
      share = getattr(self, key)
      if not 0 <= share <= 1:
        raise _error(key, share, 'a share from 0 to 1')
    if self.seed < 0:
      raise _error('seed', self.seed, 'at least 0')
    if self.duplicate_times < 1:
      raise _error('duplicate_times', self.duplicate_times, 'at least 1')
    if not 0 <= self.canaries <= _MOST_CANARIES:
      raise _error('canaries', self.canaries, f'from 0 to {_MOST_CANARIES}')
    if not self.canary_times or min(self.canary_times) < 1:
      raise _error('canary_times', self.canary_times, 'one or more, from 1 on')
    fields = {'label_noise': 'label_field', 'drop_share': 'drop_field'}
    for share, key in fields.items():
      field = getattr(self, key)
      if field == 'text' or (getattr(self, share) and not field):
        raise _error(
          key, field, f'name the field, other than text, that {share} is of'
        )


def apply(
  config: InterventionConfig, rows: Sequence[Row]
) -> tuple[Sequence[Row], dict[str, Any]]:
  """Changes the train documents as asked; `rows` itself is left as it is.

  Documents are read through once for each field that a choice depends on. A
  canary is a row of 'text' alone.

  Args:
    config: valid.
    rows: the train documents, N of them.

  Returns:
    The documents by index, which read from `rows`, or `rows` itself where
    nothing is asked; and a JSON-able record of what was done: `asked`,
    `documents_before`, `documents_after`, for each change the documents it
    affects and examples, `canaries` with their counts, and a `digest` of the
    choices, '' for none.

  Raises:
    UserError: a field or value that no document has, a label with one value,
      or no document left.
  """
  plan = _plan(config, rows)
  record = _record(config, rows, plan)
  if not _is_asked(config):
    return rows, record
  return Rows(_reader(config, rows, plan), len(plan.order_P)), record


def canary_texts(config: InterventionConfig) -> list[str]:
  """The canaries that `apply` puts in, in order.

  Each is 'The random number is ' and nine random digits, all different. More
  of them are the same ones and others.
  """
  numbers = _numbers(config.seed, 'canary', config.canaries, set())
  return [CANARY_PREFIX + number for number in numbers]


def reference_canaries(config: InterventionConfig, count: int) -> list[str]:
  """Canaries drawn in the same way that are never put in.

  The rank of a canary's loss among theirs estimates its exposure,
  log2 |R| - log2 rank, with |R| = `CANARY_SPACE` (Carlini et al. 2019).
  """
  taken = {text.removeprefix(CANARY_PREFIX) for text in canary_texts(config)}
  numbers = _numbers(config.seed, 'reference canary', count, taken)
  return [CANARY_PREFIX + number for number in numbers]


@dataclasses.dataclass(frozen=True)
class _Plan:
  """What is done to which of N documents.

  Attributes:
    order_P: the documents of the result: i from 0 on is document i, -1 - c is
      canary c.
    matching: documents that `drop_value` is true of.
    dropped_N: whether a document is left out.
    repeated_N: whether it is repeated.
    corrupted_N: whether its words are shuffled.
    labels_N: its new label, by its place in `values`; -1 = as it was.
    values: of the label field.
    canaries: their texts.
  """

  order_P: np.ndarray
  matching: int
  dropped_N: np.ndarray
  repeated_N: np.ndarray
  corrupted_N: np.ndarray
  labels_N: np.ndarray
  values: tuple[Any, ...]
  canaries: tuple[str, ...]


def _error(key: str, value: object, allowed: str) -> UserError:
  return UserError(f'data.interventions.{key} = {value!r}: {allowed}')


def _is_asked(config: InterventionConfig) -> bool:
  repeats = config.duplicate_share > 0 and config.duplicate_times > 1
  shares = config.label_noise, config.corrupt_share, config.drop_share
  return repeats or config.canaries > 0 or any(shares)


def _plan(config: InterventionConfig, rows: Sequence[Row]) -> _Plan:
  def chosen(what: str, share: float) -> np.ndarray:
    return _fractions(config.seed, what, len(rows)) < share

  matches_N = np.zeros(len(rows), bool)
  if config.drop_share:
    matches_N = _matches(config, rows)
  dropped_N = matches_N & chosen('drop', config.drop_share)
  kept = np.flatnonzero(~dropped_N)
  if not len(kept):
    raise _error(
      'drop_share', config.drop_share, 'leaves no document: lower it'
    )
  labels_N, values = np.full(len(rows), -1, np.int32), ()
  if config.label_noise:
    others_N, values = _other_labels(config, rows)
    is_noisy_N = ~dropped_N & chosen('label', config.label_noise)
    labels_N[is_noisy_N] = others_N[is_noisy_N]
  repeats = config.duplicate_times - 1
  share = config.duplicate_share if repeats else 0
  repeated_N = ~dropped_N & chosen('duplicate', share)
  copies = np.repeat(np.flatnonzero(repeated_N), repeats)
  canaries = tuple(canary_texts(config))
  times = np.resize(config.canary_times, len(canaries))
  inserted = np.repeat(-1 - np.arange(len(canaries)), times)
  gaps = np.concatenate(
    [
      _gaps(config.seed, 'place of a copy', len(copies), len(kept)),
      _gaps(config.seed, 'place of a canary', len(inserted), len(kept)),
    ]
  )
  return _Plan(
    order_P=np.insert(kept, gaps, np.concatenate([copies, inserted])),
    matching=int(matches_N.sum()),
    dropped_N=dropped_N,
    repeated_N=repeated_N,
    corrupted_N=~dropped_N & chosen('corrupt', config.corrupt_share),
    labels_N=labels_N,
    values=values,
    canaries=canaries,
  )


def _gaps(seed: int, what: str, count: int, documents: int) -> np.ndarray:
  """Before which of the documents each of `count` others is put in."""
  fractions = _fractions(seed, what, count)
  return (fractions * (documents + 1)).astype(np.int64)


def _read_field(
  rows: Sequence[Row], key: str, name: str
) -> tuple[np.ndarray, dict[str, Any]]:
  """Each document's value of a field, -1 for none, and the values by text."""
  values: dict[str, Any] = {}
  codes: dict[str, int] = {}
  codes_N = np.full(len(rows), -1, np.int32)
  for index in tqdm.trange(len(rows), desc=f'reading {name}'):
    row = rows[index]
    if name in row:
      text = str(row[name])
      values.setdefault(text, row[name])
      codes_N[index] = codes.setdefault(text, len(codes))
  if not values:
    raise _error(key, name, f'no document has it; one has {_listed(rows[0])}')
  return codes_N, values


def _matches(config: InterventionConfig, rows: Sequence[Row]) -> np.ndarray:
  codes_N, values = _read_field(rows, 'drop_field', config.drop_field)
  if config.drop_value not in values:
    raise _error(
      'drop_value',
      config.drop_value,
      f'no document has that {config.drop_field}; choose from '
      + _listed(values),
    )
  return codes_N == list(values).index(config.drop_value)


def _other_labels(
  config: InterventionConfig, rows: Sequence[Row]
) -> tuple[np.ndarray, tuple[Any, ...]]:
  """A label for each document that is not its own, -1 where it has none."""
  codes_N, values = _read_field(rows, 'label_field', config.label_field)
  count = len(values)
  if count < 2:
    raise _error(
      'label_field', config.label_field, 'all documents have one value there'
    )
  steps_N = _fractions(config.seed, 'other label', len(rows)) * (count - 1)
  others_N = (codes_N + 1 + steps_N.astype(np.int32)) % count
  return np.where(codes_N >= 0, others_N, -1), tuple(values.values())


def _reader(
  config: InterventionConfig, rows: Sequence[Row], plan: _Plan
) -> Callable[[int], Row]:
  def read(place: int) -> Row:
    index = int(plan.order_P[place])
    if index < 0:
      return {'text': plan.canaries[-1 - index]}
    return _changed(config, rows[index], index, plan)

  return read


def _changed(
  config: InterventionConfig, row: Row, index: int, plan: _Plan
) -> Row:
  label = plan.labels_N[index]
  if label >= 0:
    row = _relabelled(row, config.label_field, plan.values[label])
  if plan.corrupted_N[index]:
    key = (config.seed, stable_hash('order of words'), index)
    row = {**row, 'text': _shuffle_words(row['text'], key)}
  return row


def _relabelled(row: Row, field: str, value: Any) -> Row:
  text, old = row['text'], str(row[field])
  if old:  # an empty label is no line of its own
    lines = text.split('\n')
    text = '\n'.join(str(value) if line == old else line for line in lines)
  return {**row, field: value, 'text': text}


def _shuffle_words(text: str, key: tuple[int, ...]) -> str:
  words = _WORD.findall(text)
  bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(len(words))
  shuffled = iter([words[i] for i in np.argsort(bits, kind='stable')])
  return _WORD.sub(lambda _: next(shuffled), text)


def _fractions(seed: int, what: str, count: int) -> np.ndarray:
  """In [0, 1); number i depends on (seed, what, i) and not on `count`."""
  sequence = np.random.SeedSequence((seed, stable_hash(what)))
  return (np.random.PCG64(sequence).random_raw(count) >> 11) / 2**53


def _numbers(seed: int, what: str, count: int, taken: set[str]) -> list[str]:
  """The first `count` different numbers of a stream that are not taken."""
  bits = np.random.PCG64(np.random.SeedSequence((seed, stable_hash(what))))
  found: dict[str, None] = {}
  while len(found) < count:
    number = f'{bits.random_raw() % CANARY_SPACE:09d}'
    if number not in taken:
      found[number] = None
  return list(found)


def _record(
  config: InterventionConfig, rows: Sequence[Row], plan: _Plan
) -> dict[str, Any]:
  def original(index: int) -> dict[str, Any]:
    return {'before': _cut(rows[index]['text'])}

  def label(index: int) -> dict[str, Any]:
    after = plan.values[plan.labels_N[index]]
    before = rows[index][config.label_field]
    return {'before': _cut(before), 'after': _cut(after)}

  def words(index: int) -> dict[str, Any]:
    after = _changed(config, rows[index], index, plan)
    return original(index) | {'after': _cut(after['text'])}

  asked = dataclasses.asdict(config)
  return {
    'asked': asked | {'canary_times': list(config.canary_times)},
    'documents_before': len(rows),
    'documents_after': len(plan.order_P),
    'documents_matching': plan.matching,
    'drop': _affected(plan.dropped_N, original),
    'label_noise': _affected(plan.labels_N >= 0, label),
    'corrupt': _affected(plan.corrupted_N, words),
    'duplicate': _affected(plan.repeated_N, original),
    'canaries': [
      {'text': text, 'times': config.canary_times[i % len(config.canary_times)]}
      for i, text in enumerate(plan.canaries)
    ],
    'digest': _digest(config, plan) if _is_asked(config) else '',
  }


def _affected(
  is_affected_N: np.ndarray, example: Callable[[int], dict[str, Any]]
) -> dict[str, Any]:
  indices = np.flatnonzero(is_affected_N)
  return {
    'documents': len(indices),
    'examples': [
      {'document': index, **example(index)}
      for index in indices[:_EXAMPLES].tolist()
    ],
  }


def _digest(config: InterventionConfig, plan: _Plan) -> str:
  total = hashlib.sha256(plan.order_P.astype('<i8').tobytes())
  total.update(plan.labels_N.astype('<i4').tobytes())
  total.update(plan.corrupted_N.tobytes())
  values = [str(value) for value in plan.values]
  return tree.digest(
    [config.seed, total.hexdigest(), values, list(plan.canaries)]
  )


def _cut(value: object) -> str:
  return str(value)[:_EXAMPLE_LENGTH]


def _listed(names: Iterable[str]) -> str:
  names = sorted(names)
  more = ', ...' if len(names) > _LISTED else ''
  return ', '.join(names[:_LISTED]) + more
