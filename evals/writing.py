"""How a text is written, and what comes of it."""

import dataclasses

import numpy as np

from configs.errors import UserError


@dataclasses.dataclass(frozen=True)
class Writing:
  """How texts go on.

  Attributes:
    max_tokens: of a continuation, at most.
    temperature: logits are divided by it; 0 takes the likeliest token.
    top_k: only the k likeliest tokens are drawn from; 0 = all.
    top_p: of these only the fewest whose probabilities add up to p; 1.0 = all.
    num_beams: above 1, beam search for the likeliest whole text in place of
      drawing tokens.
    length_penalty: of beam search; a text of n tokens has the score (sum of
      log p) / n^penalty.
    stop: a continuation ends before any of these strings.
    seed: of what is drawn; a text depends on it and on its number alone.
    prefix: tokens of a prompt see each other, later ones too: for a decoder
      that was trained so (a prefix-LM).
  """

  max_tokens: int = 64
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  num_beams: int = 1
  length_penalty: float = 1.0
  stop: tuple[str, ...] = ()
  seed: int = 0
  prefix: bool = False

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    for key, least in (
      ('max_tokens', 1),
      ('num_beams', 1),
      ('top_k', 0),
      ('seed', 0),
    ):
      if not least <= getattr(self, key) < 2**31:
        raise UserError(
          f'{key} = {getattr(self, key)}: at least {least}, below 2^31'
        )
    # Beyond, logits over it are no longer numbers.
    if not (self.temperature == 0 or 1e-3 <= self.temperature <= 1e3):
      raise UserError(
        f'temperature = {self.temperature}: 0, or from 0.001 to 1000'
      )
    if not abs(self.length_penalty) <= 100:
      raise UserError(f'length_penalty = {self.length_penalty}: -100 to 100')
    if not 0 < self.top_p <= 1:
      raise UserError(f'top_p = {self.top_p}: above 0, at most 1')
    if '' in self.stop:
      raise UserError("stop = '': an empty text is everywhere")
    drawn = (self.temperature, self.top_k, self.top_p) != (1.0, 0, 1.0)
    if self.num_beams > 1 and drawn:
      raise UserError(
        f'num_beams = {self.num_beams}: beam search draws nothing; leave out '
        'temperature, top_k and top_p'
      )


@dataclasses.dataclass(frozen=True)
class Written:
  """A continuation, or of an encoder the filled text.

  Attributes:
    text: as it reads after the prompt, without what ended it.
    tokens: int32, with the separator if one ended it.
    ending: why it ended: 'separator', 'stop' (one of `Writing.stop`), 'length',
      or of an encoder 'filled'.
  """

  text: str
  tokens: np.ndarray
  ending: str
