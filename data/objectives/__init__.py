"""What a model learns of text: one objective for each kind in the config."""

import bisect

from configs.errors import UserError
from data.objectives import denoisers, masked, middle, spans
from data.objectives.base import Objective, ObjectiveConfig, Vocabulary
from data.objectives.causal import Causal
from data.objectives.pairs import Denoiser, Pairs
from data.objectives.prefix import Prefix

ARCHITECTURES = {
  'causal': ('decoder',),
  'prefix': ('encoder_decoder', 'decoder'),
  'masked': ('encoder',),
  'spans': ('encoder_decoder', 'decoder'),
  'ul2': ('encoder_decoder', 'decoder'),
  'middle': ('decoder',),
}

_UNLIMITED = 2**40  # tokens


def special_tokens(config: ObjectiveConfig, max_length: int) -> tuple[str, ...]:
  """Spellings of the tokens that an objective needs and that no text has.

  Args:
    config: a valid one.
    max_length: tokens of the longest piece, the separator included; decides how
      many sentinels there are.
  """
  if config.kind == 'masked':
    return (masked.MASK,)
  if config.kind == 'middle':
    return middle.MARKS
  if config.kind == 'spans':
    return _sentinels([_noise(config)], max_length)
  if config.kind == 'ul2':
    noise = [noise for _, noise in denoisers.SPAN_NOISE]
    return denoisers.MODES + _sentinels(noise, max_length)
  return ()


def check_architecture(kind: str, architecture: str) -> None:
  """Raises UserError where an objective is none for an architecture."""
  allowed = ARCHITECTURES[kind]
  if architecture not in allowed:
    raise UserError(
      f'data.objective.kind = {kind!r}: goes with model.architecture = '
      f'{" or ".join(allowed)}, not {architecture}'
    )


def make(
  config: ObjectiveConfig,
  architecture: str,
  vocabulary: Vocabulary,
  start_id: int,
) -> Objective:
  """The objective of a config.

  Args:
    config: a valid one.
    architecture: decoder | encoder | encoder_decoder.
    vocabulary: of the tokenizer.
    start_id: what the decoder of an encoder_decoder reads first.

  Raises:
    UserError: the objective is none for this architecture, or the vocabulary
      has not all of its special tokens. One sentinel is enough: how long pieces
      can be with so many is the objective's `max_length`.
  """
  check_architecture(config.kind, architecture)
  for token in special_tokens(config, max_length=2):
    if token not in vocabulary.ids:
      raise UserError(
        f'data.objective.kind = {config.kind!r}: needs the special token '
        f'{token}, which the tokenizer does not have; train one with '
        "data.tokenizer = 'bpe'"
      )
  if config.kind == 'causal':
    return Causal()
  if config.kind == 'masked':
    return masked.Masked(config.noise_density, config.whole_words, vocabulary)
  if config.kind == 'middle':
    return middle.Middle(config.middle_rate, vocabulary)
  start = start_id if architecture == 'encoder_decoder' else None
  return Pairs(_denoiser(config, vocabulary), start)


def longest_piece(
  objective: Objective, source_budget: int, target_budget: int
) -> int:
  """L of the longest piece whose example always fits.

  Args:
    objective: its sizes grow with L, and S + T is at least L.
    source_budget: the most that S may be, whatever u is.
    target_budget: the most that T may be, whatever u is.

  Returns:
    At most the objective's `max_length`; 0 where not even one token fits.
  """

  def is_too_long(length: int) -> bool:
    return any(
      source > source_budget or target > target_budget
      for source, target in objective.extremes(length)
    )

  most = min(objective.max_length, source_budget + target_budget)
  return bisect.bisect_left(range(1, most + 1), True, key=is_too_long)


def target_length(objective: Objective, source_budget: int) -> int:
  """The most that T can be where S may be anything up to `source_budget`."""
  piece = longest_piece(objective, source_budget, _UNLIMITED)
  return max(target for _, target in objective.extremes(max(piece, 1)))


def has_prefix(objective: Objective) -> bool:
  """Whether examples have a prefix that is read in both directions."""
  return isinstance(objective, Pairs) and objective.start_id is None


def _denoiser(config: ObjectiveConfig, vocabulary: Vocabulary) -> Denoiser:
  if config.kind == 'prefix':
    return Prefix()
  sentinels = spans.known_sentinels(vocabulary.ids)
  separator = vocabulary.separator_id
  if config.kind == 'spans':
    return spans.Spans(_noise(config), sentinels, separator)
  return denoisers.ul2(vocabulary.ids, sentinels, separator)


def _noise(config: ObjectiveConfig) -> spans.SpanNoise:
  return spans.SpanNoise(config.noise_density, config.mean_span)


def _sentinels(
  noise: list[spans.SpanNoise], max_length: int
) -> tuple[str, ...]:
  most = max(part.counts(max_length)[1] for part in noise)
  return tuple(spans.sentinel(index) for index in range(most))
