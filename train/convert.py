"""Hugging Face checkpoints in and out.

  python -m train.convert --from_hf=DIR --out=CKPT
  python -m train.convert --checkpoint=CKPT --to_hf=DIR

DIR holds config.json, safetensors (one file, or several with their index) and
tokenizer.json; or it is a GGUF file of a Llama. Nothing is ever unpickled.
"""

import contextlib
import json
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
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
from model.transformer import abstract_inputs, make
from train import checkpoint, workdir
from train.checkpoint import Meta, RunCheckpoints
from train.config import CheckpointConfig, RunConfig
from train.sharding import unbox
from train.step import TrainState
from train.weights import INDEX, WEIGHTS, Weights, library, open_weights

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

  Tensors are read one at a time; what is made of them lies on disk until it is
  saved. Numbers are float32, whatever theirs were.

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
  """
  source, out = pathlib.Path(source), pathlib.Path(out).absolute()
  _check_folder(out)
  if any(p.name.isdigit() for p in (out / checkpoint.CHECKPOINTS).glob('*')):
    raise UserError(f'{out} has checkpoints already: name a new folder')
  with open_weights(source) as weights:
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
    _check(rules, config, shapes, weights)
    with tempfile.TemporaryDirectory(dir=_made(out)) as scratch:
      params = _on_disk(pathlib.Path(scratch), shapes)
      reading = tqdm(rules, desc='reading', unit=' tensors a layer')
      huggingface.import_into(params, reading, config, weights.read)
      meta = Meta(
        config=workdir.as_json(tree.to_dict()),
        tokenizer=tokenizer.to_json(),
        corpus={'digest': '', 'source': f'weights of {tree.name}'},
        data_state={},
        step=0,
        seconds=0.0,
      )
      state = TrainState(jnp.int32(0), huggingface.by_tree(params), {})
      keep = CheckpointConfig(
        every_steps=1, keep_last=1, keep_steps=(), branch_from=''
      )
      with RunCheckpoints(out, keep) as checkpoints:
        checkpoints.save(state, meta)
  return checkpoint.find(out)


def to_hf(
  source: pathlib.Path | str,
  out: pathlib.Path | str,
  shard_bytes: int = _SHARD_BYTES,
) -> pathlib.Path:
  """Makes a folder of theirs from a checkpoint of ours.

  Args:
    source: a run's workdir, or a checkpoint folder.
    out: the new folder: config.json, safetensors, tokenizer.json.
    shard_bytes: of one safetensors file at most.

  Raises:
    UserError: no such checkpoint, a model that is like none of theirs, or an
      `out` that is not empty.
  """
  out = pathlib.Path(out)
  _check_folder(out)
  if out.exists() and any(out.iterdir()):
    raise UserError(f'{out} is not empty: name a new folder')
  folder = checkpoint.find(source)
  meta = checkpoint.load_meta(folder)
  config = to_dataclass(RunConfig, meta.config).model
  family = huggingface_config.family_of(config)
  theirs = huggingface_config.to_theirs(family, config)
  params = huggingface.by_path(checkpoint.load_raw(folder)['params'])
  tensors = huggingface.export_params(family, config, params)
  tokenizer = json.loads(meta.tokenizer)
  with _whole(out) as making:
    _save_tensors(making, tensors, shard_bytes)
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


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
  """Shape of each of our parameters, by path."""
  boxed = jax.eval_shape(
    make(config).init, jax.random.key(0), *abstract_inputs(config)
  )
  flat = huggingface.by_path(unbox(boxed['params']))
  return {path: leaf.shape for path, leaf in flat.items()}


def _check(
  rules: Sequence[huggingface.Rule],
  config: ModelConfig,
  shapes: Mapping[str, tuple[int, ...]],
  weights: Weights,
) -> None:
  """Raises UserError naming every tensor that is not as the config says."""
  expected = huggingface.shapes_of_theirs(rules, config, shapes)
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


def _run_config(name: str, section: Mapping[str, Any]) -> Any:
  base = pretrain.get_config()
  model = {f'model.{key}': value for key, value in section.items()}
  length = section.get('max_length', base.model.max_length)
  return with_overrides(
    base,
    {
      **model,
      'name': name,
      'data.sequence_length': length,
      'data.vocab_size': section['vocab_size'],
    },
  )


def _on_disk(
  folder: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
  """Arrays that need no memory until they are looked at."""
  return {
    path: np.lib.format.open_memmap(
      folder / f'{number}.npy', 'w+', np.float32, shape
    )
    for number, (path, shape) in enumerate(shapes.items())
  }


def _save_tensors(
  folder: pathlib.Path, tensors: Mapping[str, np.ndarray], shard_bytes: int
) -> None:
  library()
  from safetensors.numpy import save_file

  shards: list[dict[str, np.ndarray]] = [{}]
  size = 0
  for name, array in tensors.items():
    if shards[-1] and size + array.nbytes > shard_bytes:
      shards.append({})
      size = 0
    shards[-1][name] = array
    size += array.nbytes
  metadata = {'format': 'pt'}
  if len(shards) == 1:
    save_file(shards[0], folder / WEIGHTS, metadata)
    return
  weight_map: dict[str, str] = {}
  for number, shard in enumerate(shards, start=1):
    name = f'model-{number:05}-of-{len(shards):05}.safetensors'
    save_file(shard, folder / name, metadata)
    weight_map |= dict.fromkeys(shard, name)
  total = sum(array.nbytes for array in tensors.values())
  index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
  write_json(folder / INDEX, index)


@contextlib.contextmanager
def _whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder that appears under its name once all of it is there."""
  with tempfile.TemporaryDirectory(dir=_made(out.absolute().parent)) as scratch:
    making = pathlib.Path(scratch) / out.name
    making.mkdir()
    yield making
    if out.exists():
      out.rmdir()  # empty, as was checked
    making.rename(out)


def _check_folder(out: pathlib.Path) -> None:
  if out.exists() and not out.is_dir():
    raise UserError(f'{out} is a file: name a new folder')


def _made(folder: pathlib.Path) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  return folder


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
