"""Hugging Face's layouts of GPT-2, GPT-NeoX, Llama, BERT and T5, and ours.

Pure functions of configs, names and arrays; `train.convert` reads and writes
files. A rule pairs one tensor of theirs with the parameters of ours that it
holds; a path with `layers` in it names one layer's part of a stacked array.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from flax import traverse_util

from configs.errors import UserError
from model.config import ModelConfig

Shape = tuple[int, ...]


class Readable(Protocol):
  """A parameter of ours: an array, or what lies on disk and is read in part."""

  @property
  def shape(self) -> Shape:
    """Of the whole; of a stacked one with the axis of layers."""

  def __getitem__(self, at: tuple[int, ...]) -> np.ndarray:
    """The numbers of one layer, `(layer,)`, or all, `()`."""


class Parameter(Readable, Protocol):
  """One that can be written, too."""

  def __setitem__(self, at: tuple[int, ...], array: np.ndarray) -> None:
    """Replaces the numbers of one layer, or all."""


@dataclasses.dataclass(frozen=True)
class Rule:
  """One tensor of theirs.

  Attributes:
    theirs: its name; `{layer}` stands for the layer's number.
    ours: paths of the parameters that it holds, keys joined by '/'.
    split: (their array, shapes of ours) to our arrays.
    join: our arrays to theirs.
  """

  theirs: str
  ours: tuple[str, ...]
  split: Callable[[np.ndarray, Sequence[Shape]], list[np.ndarray]]
  join: Callable[[Sequence[np.ndarray]], np.ndarray]

  @property
  def stacked(self) -> bool:
    """Whether there is one such tensor a layer."""
    return '{layer}' in self.theirs


def _same(theirs: str, ours: str) -> Rule:
  """Equal up to the shape: vectors, tables."""
  return Rule(
    theirs,
    (ours,),
    lambda array, shapes: [array.reshape(shapes[0])],
    lambda arrays: arrays[0],
  )


def _flat(theirs: str, ours: str) -> Rule:
  """A bias, which theirs has as a vector."""
  return dataclasses.replace(
    _same(theirs, ours), join=lambda arrays: arrays[0].ravel()
  )


def _transposed(theirs: str, ours: str, num_in: int = 1) -> Rule:
  """A torch Linear's [out, in]; ours has `num_in` dimensions of inputs."""
  return Rule(
    theirs,
    (ours,),
    lambda array, shapes: [array.T.reshape(shapes[0])],
    lambda arrays: _matrix(arrays[0], num_in).T,
  )


def _straight(theirs: str, ours: str, num_in: int = 1) -> Rule:
  """GPT-2's [in, out]."""
  return dataclasses.replace(
    _same(theirs, ours), join=lambda arrays: _matrix(arrays[0], num_in)
  )


def _fused_thirds(theirs: str, ours: tuple[str, ...]) -> Rule:
  """GPT-2's query, key and value side by side along the last axis."""
  return Rule(
    theirs,
    ours,
    lambda array, shapes: [
      part.reshape(shape)
      for part, shape in zip(np.split(array, 3, axis=-1), shapes, strict=True)
    ],
    lambda arrays: np.concatenate(
      [a.reshape(*a.shape[:-2], -1) for a in arrays], axis=-1
    ),
  )


def _fused_by_head(theirs: str, ours: tuple[str, ...]) -> Rule:
  """GPT-NeoX's query, key and value of each head in turn, [H x 3 x Dh, in]."""

  def split(array: np.ndarray, shapes: Sequence[Shape]) -> list[np.ndarray]:
    heads, head_width = shapes[0][-2:]
    parts = array.reshape(heads, 3, head_width, *array.shape[1:])
    return [
      np.moveaxis(parts[:, i], -1, 0) if array.ndim > 1 else parts[:, i]
      for i in range(3)
    ]

  def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if arrays[0].ndim > 2:
      arrays = [np.moveaxis(a, 0, -1) for a in arrays]
    both = np.stack(arrays, axis=1)
    return both.reshape(-1, *both.shape[3:])

  return Rule(theirs, ours, split, join)


def _matrix(array: np.ndarray, num_in: int) -> np.ndarray:
  return array.reshape(math.prod(array.shape[:num_in]), -1)


def _norm(theirs: str, ours: str, bias: bool = True) -> list[Rule]:
  rules = [_same(f'{theirs}.weight', f'{ours}/scale')]
  return rules + [_same(f'{theirs}.bias', f'{ours}/bias')] * bias


def _linear(
  theirs: str, ours: str, num_in: int = 1, bias: bool = True
) -> list[Rule]:
  rules = [_transposed(f'{theirs}.weight', f'{ours}/kernel', num_in)]
  return rules + [_flat(f'{theirs}.bias', f'{ours}/bias')] * bias


def _qkv(at: str, leaf: str) -> tuple[str, ...]:
  return tuple(f'{at}/{name}/{leaf}' for name in ('query', 'key', 'value'))


def _gpt2(config: ModelConfig) -> list[Rule]:
  theirs, ours = 'transformer.h.{layer}', 'decoder/layers'
  attention = f'{ours}/attention'
  c_attn = f'{theirs}.attn.c_attn'
  rules = [
    _same('transformer.wte.weight', 'embedding/table'),
    _same('transformer.wpe.weight', 'embedding/positions'),
    *_norm('transformer.ln_f', 'decoder/final_norm'),
    *_norm(f'{theirs}.ln_1', f'{ours}/attention_norm'),
    *_norm(f'{theirs}.ln_2', f'{ours}/ffn_norm'),
    _fused_thirds(f'{c_attn}.weight', _qkv(attention, 'kernel')),
    _fused_thirds(f'{c_attn}.bias', _qkv(attention, 'bias')),
  ]
  for name, part, num_in in (
    ('attn.c_proj', 'attention/out', 2),
    ('mlp.c_fc', 'ffn/up', 1),
    ('mlp.c_proj', 'ffn/down', 1),
  ):
    at = f'{theirs}.{name}', f'{ours}/{part}'
    rules.append(_straight(f'{at[0]}.weight', f'{at[1]}/kernel', num_in))
    rules.append(_flat(f'{at[0]}.bias', f'{at[1]}/bias'))
  if not config.tied_head:
    rules.append(_same('lm_head.weight', 'head'))
  return rules


def _gpt_neox(config: ModelConfig) -> list[Rule]:
  theirs, ours = 'gpt_neox.layers.{layer}', 'decoder/layers'
  attention = f'{ours}/attention'
  fused = f'{theirs}.attention.query_key_value'
  rules = [
    _same('gpt_neox.embed_in.weight', 'embedding/table'),
    *_norm('gpt_neox.final_layer_norm', 'decoder/final_norm'),
    *_norm(f'{theirs}.input_layernorm', f'{ours}/attention_norm'),
    *_norm(f'{theirs}.post_attention_layernorm', f'{ours}/ffn_norm'),
    _fused_by_head(f'{fused}.weight', _qkv(attention, 'kernel')),
    _fused_by_head(f'{fused}.bias', _qkv(attention, 'bias')),
    *_linear(f'{theirs}.attention.dense', f'{attention}/out', 2),
    *_linear(f'{theirs}.mlp.dense_h_to_4h', f'{ours}/ffn/up'),
    *_linear(f'{theirs}.mlp.dense_4h_to_h', f'{ours}/ffn/down'),
  ]
  if not config.tied_head:
    rules.append(_same('embed_out.weight', 'head'))
  return rules


def _llama(config: ModelConfig) -> list[Rule]:
  theirs, ours = 'model.layers.{layer}', 'decoder/layers'
  norms = {
    'model.norm': 'decoder/final_norm',
    f'{theirs}.input_layernorm': f'{ours}/attention_norm',
    f'{theirs}.post_attention_layernorm': f'{ours}/ffn_norm',
  }
  linears = {
    'self_attn.q_proj': ('attention/query', 1),
    'self_attn.k_proj': ('attention/key', 1),
    'self_attn.v_proj': ('attention/value', 1),
    'self_attn.o_proj': ('attention/out', 2),
    'mlp.gate_proj': ('ffn/gate', 1),
    'mlp.up_proj': ('ffn/up', 1),
    'mlp.down_proj': ('ffn/down', 1),
  }
  rules = [_same('model.embed_tokens.weight', 'embedding/table')]
  for name, own in norms.items():
    rules += _norm(name, own, bias=False)
  for name, (own, num_in) in linears.items():
    rules += _linear(f'{theirs}.{name}', f'{ours}/{own}', num_in, bias=False)
  if not config.tied_head:
    rules.append(_same('lm_head.weight', 'head'))
  return rules


def _bert(config: ModelConfig) -> list[Rule]:
  theirs, ours = 'bert.encoder.layer.{layer}', 'encoder/layers'
  table = 'bert.embeddings'
  rules = [
    _same(f'{table}.word_embeddings.weight', 'embedding/table'),
    _same(f'{table}.position_embeddings.weight', 'embedding/positions'),
    _same(f'{table}.token_type_embeddings.weight', 'embedding/types'),
    *_norm(f'{table}.LayerNorm', 'embedding/norm'),
    *_norm(f'{theirs}.attention.output.LayerNorm', f'{ours}/attention_norm'),
    *_norm(f'{theirs}.output.LayerNorm', f'{ours}/ffn_norm'),
    *_linear(f'{theirs}.attention.output.dense', f'{ours}/attention/out', 2),
    *_linear(f'{theirs}.intermediate.dense', f'{ours}/ffn/up'),
    *_linear(f'{theirs}.output.dense', f'{ours}/ffn/down'),
  ]
  for name in ('query', 'key', 'value'):
    own = f'{ours}/attention/{name}'
    rules += _linear(f'{theirs}.attention.self.{name}', own)
  if config.pooler:
    rules += _linear('bert.pooler.dense', 'pooler')
  if config.num_classes:
    rules += _linear('classifier', 'classifier')
  if config.mlm_head:
    head = 'cls.predictions'
    rules += [
      *_linear(f'{head}.transform.dense', 'transform'),
      *_norm(f'{head}.transform.LayerNorm', 'transform_norm'),
      _same(f'{head}.bias', 'head_bias'),
    ]
  return rules


def _t5(config: ModelConfig) -> list[Rule]:
  rules = [_same('shared.weight', 'embedding/table')]
  if not config.tied_head:
    rules.append(_same('lm_head.weight', 'head'))
  for side in ('encoder', 'decoder'):
    theirs, ours = side + '.block.{layer}.layer', f'{side}/layers'
    parts = {'attention': (0, 'SelfAttention')}
    if side == 'decoder':
      parts['cross'] = (1, 'EncDecAttention')
    for own, (number, name) in parts.items():
      at = f'{theirs}.{number}'
      rules += _norm(f'{at}.layer_norm', f'{ours}/{own}_norm', bias=False)
      for letter, part in (
        ('q', 'query'),
        ('k', 'key'),
        ('v', 'value'),
        ('o', 'out'),
      ):
        rules += _linear(
          f'{at}.{name}.{letter}',
          f'{ours}/{own}/{part}',
          2 if part == 'out' else 1,
          bias=False,
        )
    at = f'{theirs}.{len(parts)}'
    rules += _norm(f'{at}.layer_norm', f'{ours}/ffn_norm', bias=False)
    gated = config.activation == 'geglu'
    names = {'wo': 'down'} | (
      {'wi_0': 'gate', 'wi_1': 'up'} if gated else {'wi': 'up'}
    )
    for name, part in names.items():
      own = f'{ours}/ffn/{part}'
      rules += _linear(f'{at}.DenseReluDense.{name}', own, bias=False)
    bias = 'layer.0.SelfAttention.relative_attention_bias.weight'
    rules += [
      *_norm(f'{side}.final_layer_norm', f'{side}/final_norm', bias=False),
      _same(f'{side}.block.0.{bias}', f'{side}/relative_bias'),
    ]
  return rules


_RULES: Mapping[str, Callable[[ModelConfig], list[Rule]]] = {
  'gpt2': _gpt2,
  'gpt_neox': _gpt_neox,
  'llama': _llama,
  'bert': _bert,
  't5': _t5,
}


def rules(family: str, config: ModelConfig) -> list[Rule]:
  """Every tensor of a model of theirs.

  Args:
    family: their `model_type`.
    config: ours.

  Raises:
    UserError: a family without rules.
  """
  if family not in _RULES:
    raise UserError(f'model_type = {family!r}: choose from {", ".join(_RULES)}')
  return _RULES[family](config)


def shapes_of_theirs(
  rules: Sequence[Rule], config: ModelConfig, shapes: Mapping[str, Shape]
) -> dict[str, Shape]:
  """The shape of each tensor of theirs, by name.

  Args:
    rules: as `rules` gives them.
    config: ours.
    shapes: of ours, by path; of stacked ones with the axis of layers.
  """
  found = {}
  for rule in rules:
    inner = [shapes[path][rule.stacked :] for path in rule.ours]
    # Bytes, and those of one number: only the shape is looked at.
    blanks = [np.broadcast_to(np.int8(0), shape) for shape in inner]
    shape = rule.join(blanks).shape
    for name, _ in _tensors(rule, config):
      found[name] = shape
  return found


def import_into(
  params: Mapping[str, Parameter],
  rules: Sequence[Rule],
  config: ModelConfig,
  read: Callable[[str], np.ndarray],
) -> None:
  """Fills our parameters, by path, from theirs, by name, one at a time.

  Args:
    params: to be filled.
    rules: as `rules` gives them.
    config: ours.
    read: gives a tensor of theirs.
  """
  for rule in rules:
    for name, at in _tensors(rule, config):
      shapes = [params[path].shape[len(at) :] for path in rule.ours]
      found = rule.split(read(name), shapes)
      for path, array in zip(rule.ours, found, strict=True):
        params[path][at] = array


def export_params(
  rules: Sequence[Rule], config: ModelConfig, params: Mapping[str, Readable]
) -> Iterator[tuple[str, np.ndarray]]:
  """Names and tensors of theirs, one at a time, from our parameters by path.

  They come in the order of `shapes_of_theirs`.
  """
  for rule in rules:
    for name, at in _tensors(rule, config):
      joined = rule.join([params[path][at] for path in rule.ours])
      yield name, np.ascontiguousarray(joined)


def _tensors(
  rule: Rule, config: ModelConfig
) -> Iterator[tuple[str, tuple[int, ...]]]:
  """Their name of each of a rule's tensors, and the index of its layer."""
  if not rule.stacked:
    yield rule.theirs, ()
    return
  for layer in range(config.num_layers):
    yield rule.theirs.format(layer=layer), (layer,)


def by_path(tree: Mapping[str, Any]) -> dict[str, Any]:
  """A nested tree of parameters as one level, keys joined by '/'."""
  return traverse_util.flatten_dict(tree, sep='/')


def by_tree(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Undoes `by_path`."""
  return traverse_util.unflatten_dict(flat, sep='/')
