"""Hugging Face checkpoints in and out.

  python -m train.convert --from_hf=DIR --out=CKPT
  python -m train.convert --checkpoint=CKPT --to_hf=DIR

DIR holds config.json, safetensors (one file, or several with their index) and
tokenizer.json; or it is a GGUF file of a Llama. Nothing is ever unpickled.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

from configs import pretrain
from configs.command import run_command
from configs.errors import UserError
from configs.files import write_json, write_text
from configs.tree import to_dataclass, with_overrides
from data.tokenizer import tokenizer_from_json
from model import huggingface, huggingface_config
from model.config import ModelConfig
from model.parametrization import as_standard
from model.transformer import abstract_inputs, make
from train import checkpoint, workdir
from train.checkpoint import Meta
from train.config import RunConfig
from train.foreign.shards import write_shards
from train.foreign.weights import Weights, open_weights
from train.interrupt import StopRequest, stop_request
from train.mesh.sharding import unbox
from train.storage import stored
from train.storage.places import CHECKPOINTS
from train.storage.stored import Stored

_SHARD_BYTES = 5 * 10**9

# Buffers, and second names of tensors that are read under their first one.
_PASSED_BY = re.compile(
  r'(attn\.(masked_)?bias|attention\.(masked_)?bias|inv_freq|position_ids'
  r'|(en|de)coder\.embed_tokens\.weight|cls\.predictions\.decoder\.\w+'
  r'|cls\.seq_relationship\.\w+'
  r'|EncDecAttention\.relative_attention_bias\.weight)$'
)


def from_hf(
  source: pathlib.Path | str, out: pathlib.Path | str
) -> pathlib.Path:
  """Makes a checkpoint of ours from a folder of theirs.

  Tensors are read and written one at a time, and no more of the model is ever
  in memory. Numbers are float32, whatever theirs were.

  Args:
    source: folder with config.json, safetensors and tokenizer.json, or a GGUF
      file.
    out: folder of the new checkpoint, as a run's workdir.

  Returns:
    The checkpoint.

  Raises:
    UserError: a file or tensor that is missing, is too much or has another
      shape, a family that we do not have, a tokenizer that has more tokens than
      the embedding, or an `out` that has a checkpoint already.
    Interrupted: by a signal; nothing was left behind.
  """
  source, out = pathlib.Path(source), pathlib.Path(out).absolute()
  _check_folder(out)
  if any(p.name.isdigit() for p in (out / CHECKPOINTS).glob('*')):
    raise UserError(f'{out} has checkpoints already: name a new folder')
  with stop_request() as stop, open_weights(source) as weights:
    section = huggingface_config.from_theirs(weights.config)
    named = source.resolve()
    name = named.stem if named.suffix == '.gguf' else named.name
    tree = _run_config(name, section)
    config = to_dataclass(RunConfig, tree).model
    tokenizer = weights.tokenizer()
    if tokenizer.vocab_size > config.vocab_size:
      raise UserError(
        f'the tokenizer has {tokenizer.vocab_size} tokens, more than the '
        f'{config.vocab_size} rows of the embedding: it is of another model'
      )
    rules = huggingface.rules(weights.config['model_type'], config)
    shapes = shapes_of(config)
    expected = huggingface.shapes_of_theirs(rules, config, shapes)
    _check(expected, config, weights)
    meta = Meta(
      config=workdir.as_json(tree.to_dict()),
      tokenizer=tokenizer.to_json(),
      corpus={'digest': '', 'source': f'weights of {tree.name}'},
      data_state={},
      step=0,
      seconds=0.0,
    )
    abstract = {
      path: jax.ShapeDtypeStruct(shape, np.float32)
      for path, shape in shapes.items()
    }
    made = out / CHECKPOINTS / str(meta.step)
    with _whole(made) as making, _progress(expected, stop) as step:
      params = stored.new_params(making, meta, huggingface.by_tree(abstract))

      def read(name: str) -> np.ndarray:
        step()
        return weights.read(name)

      huggingface.import_into(params, rules, config, read)
      stored.seal(making, params)
  return made


def to_hf(
  source: pathlib.Path | str,
  out: pathlib.Path | str,
  shard_bytes: int = _SHARD_BYTES,
) -> pathlib.Path:
  """Makes a folder of theirs from a checkpoint of ours.

  Tensors are read and written one at a time, as `from_hf` does.

  Args:
    source: a run's workdir, or a checkpoint folder.
    out: the new folder: config.json, safetensors, tokenizer.json.
    shard_bytes: of one safetensors file at most.

  Raises:
    UserError: no such checkpoint, a model that is like none of theirs, or an
      `out` that is not empty.
    Interrupted: by a signal; nothing was left behind.
  """
  out = pathlib.Path(out)
  _check_folder(out)
  if out.exists() and any(out.iterdir()):
    raise UserError(f'{out} is not empty: name a new folder')
  folder = checkpoint.find(source)
  meta = checkpoint.load_meta(folder)
  own_config = to_dataclass(RunConfig, meta.config).model
  config, factor = as_standard(own_config)
  family = huggingface_config.family_of(config)
  theirs = huggingface_config.to_theirs(family, config)
  params = {
    path: _Scaled(one, factor(path))
    for path, one in stored.open_params(folder).items()
  }
  rules = huggingface.rules(family, config)
  shapes = huggingface.shapes_of_theirs(
    rules, config, {path: one.shape for path, one in params.items()}
  )
  tokenizer = json.loads(meta.tokenizer)
  with stop_request() as stop, _whole(out) as making:
    making.mkdir()
    with _progress(shapes, stop) as step:

      def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for named in huggingface.export_params(rules, config, params):
          step()
          yield named

      write_shards(making, shapes, tensors(), shard_bytes)
    if tokenizer['kind'] == 'library':
      separator = tokenizer_from_json(meta.tokenizer).separator_id
      theirs |= {'bos_token_id': separator, 'eos_token_id': separator}
      write_json(making / 'tokenizer.json', tokenizer['tokenizer'])
      write_json(
        making / 'tokenizer_config.json',
        {
          'tokenizer_class': 'PreTrainedTokenizerFast',
          'bos_token': tokenizer['separator'],
          'eos_token': tokenizer['separator'],
        },
      )
    write_text(making / 'config.json', json.dumps(theirs, indent=2) + '\n')
  return out


@dataclasses.dataclass(frozen=True)
class _Scaled:
  """A parameter on disk, multiplied as it is read."""

  stored: Stored
  factor: float

  @property
  def shape(self) -> tuple[int, ...]:
    return self.stored.shape

  def __getitem__(self, at: tuple[int, ...]) -> np.ndarray:
    found = self.stored[at]
    return found if self.factor == 1 else found * np.float32(self.factor)


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
  """Shape of each of our parameters, by path."""
  boxed = jax.eval_shape(
    make(config).init, jax.random.key(0), *abstract_inputs(config)
  )
  flat = huggingface.by_path(unbox(boxed['params']))
  return {path: leaf.shape for path, leaf in flat.items()}


def _check(
  expected: Mapping[str, tuple[int, ...]], config: ModelConfig, weights: Weights
) -> None:
  """Raises UserError naming every tensor that is not as the config says."""
  own = {weights.own_name(name): shape for name, shape in expected.items()}
  missing = sorted(own.keys() - weights.names)
  extra = {n for n in weights.names - own.keys() if not _PASSED_BY.search(n)}
  if config.tied_head:
    extra -= {'lm_head.weight', 'embed_out.weight'}
  if not config.pooler:
    extra -= {n for n in extra if '.pooler.' in f'.{n}'}
  if not config.mlm_head:
    extra -= {n for n in extra if n.startswith('cls.')}
  wrong = [
    f'{name} is {weights.shape(name)}, not {shape}'
    for name, shape in sorted(own.items())
    if name in weights.names and weights.shape(name) != shape
  ]
  told = []
  if missing:
    told.append('missing: ' + ', '.join(missing))
  if extra:
    told.append('unknown: ' + ', '.join(sorted(extra)))
  if wrong:
    told.append('of another shape: ' + ', '.join(wrong))
  if told:
    raise UserError('tensors do not fit config.json; ' + '; '.join(told))


# What is learnt of text by each architecture, as it was published.
_LEARNT: Mapping[str, Mapping[str, str]] = {
  'decoder': {},
  'encoder': {'data.objective.kind': 'masked'},
  'encoder_decoder': {
    'data.objective.kind': 'spans',
    'data.packing': 'fit',
  },
}


def _run_config(name: str, section: Mapping[str, Any]) -> Any:
  base = pretrain.get_config()
  model = {f'model.{key}': value for key, value in section.items()}
  length = section.get('max_length', base.model.max_length)
  architecture = section.get('architecture', base.model.architecture)
  return with_overrides(
    base,
    {
      **model,
      **_LEARNT[architecture],
      'name': name,
      'data.sequence_length': length,
      'data.vocab_size': section['vocab_size'],
    },
  )


@contextlib.contextmanager
def _progress(
  tensors: Collection[str], stop: StopRequest
) -> Iterator[Callable[[], None]]:
  """A bar; what it gives is called at each tensor, and ends where asked to."""
  with tqdm(total=len(tensors), unit=' tensors') as bar:

    def step() -> None:
      stop.check('interrupted; nothing was left behind, so begin it again')
      bar.update()

    yield step


@contextlib.contextmanager
def _whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to be made, that appears under its name once it is whole."""
  # Until then it lies in a folder that was there before: only one is to be
  # removed when something goes wrong.
  out = out.absolute()
  there = next(folder for folder in out.parents if folder.exists())
  if not there.is_dir():
    raise UserError(f'{there} is a file: name a new folder')
  with tempfile.TemporaryDirectory(dir=there, prefix='.convert-') as scratch:
    making = pathlib.Path(scratch) / out.name
    yield making
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
      out.rmdir()  # empty, as was checked
    making.rename(out)


def _check_folder(out: pathlib.Path) -> None:
  if out.exists() and not out.is_dir():
    raise UserError(f'{out} is a file: name a new folder')


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  given = flags.FLAGS
  if given.from_hf and given.out and not (given.checkpoint or given.to_hf):
    print(from_hf(given.from_hf, given.out))
  elif given.checkpoint and given.to_hf and not (given.from_hf or given.out):
    print(to_hf(given.checkpoint, given.to_hf))
  else:
    raise UserError(
      'give --from_hf=DIR --out=CKPT, or --checkpoint=CKPT --to_hf=DIR'
    )


if __name__ == '__main__':
  flags.DEFINE_string('from_hf', None, 'Folder of Hugging Face to read.')
  flags.DEFINE_string('out', None, 'Folder of the checkpoint to make.')
  flags.DEFINE_string('checkpoint', None, 'Workdir or checkpoint to read.')
  flags.DEFINE_string('to_hf', None, 'Folder of Hugging Face to make.')
  run_command(main)
