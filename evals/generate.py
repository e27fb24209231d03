"""Lets a checkpoint write: prompts go on, blanks are filled.

python -m evals.generate --checkpoint=CKPT --prompt='Once upon a time'
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

from configs.command import run_command
from configs.errors import UserError
from configs.files import write_json
from data.tokenizer import Tokenizer
from evals.fill import fill
from evals.prompts import batches, encode, padded, rows_of
from evals.writers import put, sampler, searcher
from evals.writing import Writing, Written
from model.beam import Ranking
from model.generate import Choice
from model.sampling import Sampling
from model.transformer import Encoder, make
from train.pretrained import Pretrained, load_pretrained

_CHUNK = 16  # tokens written between two looks for strings that end a text


def generate(
  pretrained: Pretrained,
  prompts: Sequence[str],
  writing: Writing,
  show_progress: bool = True,
) -> list[Written]:
  """What a model writes after each prompt.

  A decoder goes on; its prompt begins as a document in training does, with the
  separator, and loses its oldest tokens where prompt and continuation together
  are longer than the model was trained for. An encoder-decoder reads the prompt
  and writes an answer. An encoder fills each `[MASK]` of the prompt with the
  likeliest token, the surest first.

  Prompts of similar length are batched. Lengths are padded to powers of two, so
  that few programs are compiled, and neither padding nor company changes a
  text. An expert of a mixture takes every token that chooses it, whatever
  `model.expert_capacity` is.

  Args:
    pretrained: the model.
    prompts: at least one.
    writing: how.
    show_progress: a progress bar on stderr.

  Raises:
    UserError: no prompt, a value out of range, more tokens than the model was
      trained for, or an encoder without masked-token head or tokenizer with
      masks.
  """
  writing.validate()
  if isinstance(prompts, str):
    raise UserError('prompts is one text: give a list of them')
  if not prompts:
    raise UserError('no prompt: give at least one')
  if isinstance(pretrained.model, Encoder):
    return fill(pretrained, prompts, show_progress)
  pretrained = _for_writing(pretrained)
  encoded = encode(pretrained, prompts, writing.max_tokens)
  # What a text is read after: an answer follows on nothing.
  answers = pretrained.config.model.architecture == 'encoder_decoder'
  before = [''] * len(prompts) if answers else list(prompts)
  found: dict[int, Written] = {}
  with tqdm(
    total=len(prompts) * writing.max_tokens,
    unit=' tokens',
    desc='writing',
    disable=not show_progress,
  ) as bar:
    for numbers in batches(pretrained, encoded, writing):
      rows = rows_of(pretrained, [encoded[n] for n in numbers], numbers)
      write = _sampled if writing.num_beams == 1 else _searched
      own_before = [before[n] for n in numbers]
      tokens = write(pretrained, rows, own_before, writing, bar)
      for number, own in zip(numbers, tokens, strict=False):
        found[number] = _written(
          pretrained.tokenizer, before[number], own, writing
        )
  return [found[number] for number in range(len(prompts))]


def _for_writing(pretrained: Pretrained) -> Pretrained:
  """The same parameters, as they are best used token by token.

  In a loop over layers the cache is not copied. An expert's capacity is a
  number of places in a whole row: padding would take some, and so none is
  turned away.
  """
  config = dataclasses.replace(
    pretrained.config.model, scan_layers=True, expert_capacity=0.0
  )
  return dataclasses.replace(pretrained, model=make(config))


def _sampled(
  pretrained: Pretrained,
  rows: Mapping[str, np.ndarray],
  before: Sequence[str],
  writing: Writing,
  bar: tqdm,
) -> np.ndarray:
  """Tokens [rows, T] after each prompt, drawn one by one."""
  start, go_on = sampler(
    pretrained.model,
    pretrained.mesh,
    padded(writing.max_tokens),
    writing.prefix,
  )
  sampling = Sampling(writing.temperature, writing.top_k, writing.top_p)
  tokenizer = pretrained.tokenizer
  choice = Choice(sampling, tokenizer.separator_id, tokenizer.vocab_size)
  batch = put(rows, pretrained.mesh)
  key = jax.random.key(writing.seed)
  now, tokens, done = start(pretrained.params, batch, key, choice)
  seen, written = 0, 1
  while True:
    tokens, done = np.array(tokens), np.array(done)
    done[len(before) :] = True
    bar.update(len(before) * (written - seen))
    if writing.stop:
      for row in np.flatnonzero(~done).tolist():
        text = _text(tokenizer, before[row], tokens[row, :written])
        done[row] = _first_of(writing.stop, text) is not None
    if done.all() or written == writing.max_tokens:
      bar.update(len(before) * (writing.max_tokens - written))
      return tokens[:, :written]
    seen, written = written, min(written + _CHUNK, writing.max_tokens)
    now, tokens, done = go_on(pretrained.params, now, done, choice, written)


def _searched(
  pretrained: Pretrained,
  rows: Mapping[str, np.ndarray],
  before: Sequence[str],
  writing: Writing,
  bar: tqdm,
) -> np.ndarray:
  """Tokens [rows, T] of the best text that beams find after each prompt."""
  search = searcher(
    pretrained.model,
    pretrained.mesh,
    padded(writing.max_tokens),
    writing.num_beams,
    writing.prefix,
  )
  ranking = Ranking(
    writing.length_penalty,
    pretrained.tokenizer.separator_id,
    pretrained.tokenizer.vocab_size,
    writing.max_tokens,
  )
  batch = put(rows, pretrained.mesh)
  tokens = np.asarray(search(pretrained.params, batch, ranking))
  bar.update(len(before) * writing.max_tokens)
  return tokens[:, : writing.max_tokens]


def _written(
  tokenizer: Tokenizer, prompt: str, tokens: np.ndarray, writing: Writing
) -> Written:
  """A row of tokens as a text, up to what ended it."""
  ending, end = 'length', len(tokens)
  separators = np.flatnonzero(tokens == tokenizer.separator_id)
  if len(separators):
    ending, end = 'separator', separators[0] + 1
  text = _text(tokenizer, prompt, tokens[:end])
  cut = _first_of(writing.stop, text)
  if cut is None:
    return Written(text, tokens[:end], ending)
  # The fewest tokens whose text has the string.
  end = next(
    size
    for size in range(1, end + 1)
    if _first_of(writing.stop, _text(tokenizer, prompt, tokens[:size]))
    is not None
  )
  return Written(text[:cut], tokens[:end], 'stop')


def _text(tokenizer: Tokenizer, prompt: str, tokens: np.ndarray) -> str:
  """How tokens read after a prompt; alone they may lose a blank."""
  before = tokenizer.encode(prompt)
  head = tokenizer.decode(before)
  whole = tokenizer.decode([*before, *tokens])
  if whole.startswith(head):
    return whole[len(head) :]
  return tokenizer.decode(tokens)


def _first_of(strings: Sequence[str], text: str) -> int | None:
  """Where the first of some strings begins."""
  places = [text.find(string) for string in strings]
  return min((place for place in places if place >= 0), default=None)


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  given = flags.FLAGS
  writing = Writing(
    **{
      field.name: getattr(given, field.name)
      for field in dataclasses.fields(Writing)
      if field.name != 'stop'
    },
    stop=tuple(given.stop),
  )
  writing.validate()
  if given.out:
    _check_out(pathlib.Path(given.out))
  pretrained = load_pretrained(given.checkpoint, given.step)
  found = generate(pretrained, given.prompt, writing)
  if given.out:
    lines = [
      {'prompt': prompt, 'text': written.text, 'ending': written.ending}
      for prompt, written in zip(given.prompt, found, strict=True)
    ]
    settings = dataclasses.asdict(writing)
    write_json(
      pathlib.Path(given.out),
      {
        'checkpoint': str(pretrained.folder),
        'writing': settings,
        'texts': lines,
      },
    )
  goes_on = pretrained.config.model.architecture == 'decoder'
  for prompt, written in zip(given.prompt, found, strict=True):
    print((prompt if goes_on else '') + written.text)


def _check_out(path: pathlib.Path) -> None:
  """Raises UserError for a file that cannot be written, before any work."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'--out={path}: {error}') from error
  if path.is_dir():
    raise UserError(f'--out={path} is a folder: name a file')


def _define_flags() -> None:
  """Not at import: notebooks import `generate` from here."""
  usual = Writing()
  flags.DEFINE_string(
    'checkpoint', None, 'Workdir of a run, or folder of one checkpoint.'
  )
  flags.DEFINE_integer(
    'step', None, 'Of a workdir, which checkpoint; by default the newest.'
  )
  flags.DEFINE_multi_string('prompt', None, 'A text to go on from; repeatable.')
  flags.DEFINE_string('out', None, 'JSON file to write, too.')
  flags.DEFINE_integer('max_tokens', usual.max_tokens, 'Tokens to write.')
  flags.DEFINE_float(
    'temperature', usual.temperature, 'Logits over it; 0: the likeliest token.'
  )
  flags.DEFINE_integer(
    'top_k', usual.top_k, 'Draw from the k likeliest tokens; 0: all.'
  )
  flags.DEFINE_float(
    'top_p', usual.top_p, 'Draw from the fewest that make up p; 1: all.'
  )
  flags.DEFINE_integer(
    'num_beams', usual.num_beams, 'Above 1: beam search, which draws nothing.'
  )
  flags.DEFINE_float(
    'length_penalty', usual.length_penalty, 'Of beams: log p / length^this.'
  )
  flags.DEFINE_multi_string('stop', [], 'A text ends before it; repeatable.')
  flags.DEFINE_integer('seed', usual.seed, 'Of what is drawn.')
  flags.DEFINE_bool(
    'prefix', usual.prefix, 'Prompts see themselves whole (a prefix-LM).'
  )
  flags.mark_flags_as_required(['checkpoint', 'prompt'])


if __name__ == '__main__':
  _define_flags()
  run_command(main)
