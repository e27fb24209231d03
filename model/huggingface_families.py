"""Families of Hugging Face: what each fixes, and what it calls the rest."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from configs.errors import UserError
from model.config import ModelConfig

Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
  """How one `model_type` of theirs is a config of ours.

  Attributes:
    fixed: our keys that the family has no choice in.
    fields: their name of each of our keys that they have as it is.
    choices: of one of our keys: (their name, their word of each of our values).
    read: (their config) to our other keys.
    write: (our config) to their other keys.
    defaults: of their keys that a config.json may leave out.
  """

  fixed: Tree
  fields: Mapping[str, str]
  choices: Mapping[str, tuple[str, Mapping[str, Any]]]
  read: Callable[[Tree], dict[str, Any]]
  write: Callable[[ModelConfig], dict[str, Any]]
  defaults: Tree = dataclasses.field(default_factory=dict)


def required(theirs: Tree, name: str) -> Any:
  """The value of a key of theirs; UserError where there is none."""
  if name not in theirs:
    raise UserError(f'config.json has no {name}')
  return theirs[name]


def _off(theirs: Tree, *names: str) -> None:
  for name in names:
    if theirs.get(name):
      raise UserError(
        f'{name} = {theirs[name]!r} of config.json: not supported'
      )


def _check_heads(heads: int) -> None:
  if heads < 1:
    raise UserError(f'{heads} attention heads in config.json: at least 1')


def _one_width(width: int, heads: int) -> dict[str, int]:
  """Heads that make up the width, each with keys of its own."""
  _check_heads(heads)
  return {'num_kv_heads': heads, 'head_width': width // heads}


def _read_gpt2(theirs: Tree) -> dict[str, Any]:
  _off(theirs, 'scale_attn_by_inverse_layer_idx', 'add_cross_attention')
  if not theirs.get('scale_attn_weights', True):
    raise UserError('scale_attn_weights = False of config.json: not supported')
  width = theirs['n_embd']
  return {
    **_one_width(width, theirs['n_head']),
    'ffn_width': theirs.get('n_inner') or 4 * width,
    'tied_head': theirs.get('tie_word_embeddings', True),
  }


def _write_gpt2(config: ModelConfig) -> dict[str, Any]:
  return {
    'architectures': ['GPT2LMHeadModel'],
    'n_inner': config.ffn_width,
    'tie_word_embeddings': config.tied_head,
  }


def _rope(theirs: Tree) -> Tree:
  """Of `rope_parameters`, or of the names that went before it."""
  rope = dict(theirs.get('rope_parameters') or theirs.get('rope_scaling') or {})
  for name, old in (
    ('rope_theta', 'rope_theta'),
    ('rope_theta', 'rotary_emb_base'),
    ('partial_rotary_factor', 'rotary_pct'),
  ):
    if old in theirs:
      rope.setdefault(name, theirs[old])
  kind = rope.get('rope_type') or rope.get('type') or 'default'
  if kind not in ('default', 'llama3'):
    raise UserError(
      f'rope_type = {kind!r} of config.json: choose from default, llama3'
    )
  return rope | {'rope_type': kind}


def _read_gpt_neox(theirs: Tree) -> dict[str, Any]:
  rope = _rope(theirs)
  if rope['rope_type'] != 'default':
    raise UserError("rope_type of config.json: a gpt_neox has 'default'")
  if not theirs.get('attention_bias', True):
    raise UserError('attention_bias = False of config.json: not supported')
  return {
    **_one_width(theirs['hidden_size'], theirs['num_attention_heads']),
    'parallel_residual': theirs.get('use_parallel_residual', True),
    'tied_head': theirs.get('tie_word_embeddings', False),
    'rope_theta': float(rope.get('rope_theta', 10_000.0)),
    'rope_fraction': float(rope.get('partial_rotary_factor', 0.25)),
  }


def _write_gpt_neox(config: ModelConfig) -> dict[str, Any]:
  return {
    'architectures': ['GPTNeoXForCausalLM'],
    'use_parallel_residual': config.parallel_residual,
    'tie_word_embeddings': config.tied_head,
    'rotary_emb_base': config.rope_theta,
    'rotary_pct': config.rope_fraction,
    'rope_parameters': {
      'rope_type': 'default',
      'rope_theta': config.rope_theta,
      'partial_rotary_factor': config.rope_fraction,
    },
  }


_LLAMA3_ROPE = {
  'rope_factor': 'factor',
  'rope_low_frequency': 'low_freq_factor',
  'rope_high_frequency': 'high_freq_factor',
  'rope_original_length': 'original_max_position_embeddings',
}


def _read_llama(theirs: Tree) -> dict[str, Any]:
  _off(theirs, 'attention_bias', 'mlp_bias')
  rope = _rope(theirs)
  heads = theirs['num_attention_heads']
  _check_heads(heads)
  found = {
    'num_kv_heads': theirs.get('num_key_value_heads') or heads,
    'head_width': theirs.get('head_dim') or theirs['hidden_size'] // heads,
    'tied_head': theirs.get('tie_word_embeddings', False),
    'rope_theta': float(rope.get('rope_theta', 10_000.0)),
    'rope_factor': 1.0,
  }
  if rope['rope_type'] == 'llama3':
    for key, name in _LLAMA3_ROPE.items():
      found[key] = required(rope, name)
  return found


def _write_llama(config: ModelConfig) -> dict[str, Any]:
  rope: dict[str, Any] = {
    'rope_type': 'default',
    'rope_theta': config.rope_theta,
  }
  if config.rope_factor != 1:
    rope['rope_type'] = 'llama3'
    rope |= {name: getattr(config, k) for k, name in _LLAMA3_ROPE.items()}
  return {
    'architectures': ['LlamaForCausalLM'],
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_width,
    'tie_word_embeddings': config.tied_head,
    'rope_theta': config.rope_theta,
    'rope_parameters': rope,
  }


def _read_bert(theirs: Tree) -> dict[str, Any]:
  _off(theirs, 'is_decoder', 'add_cross_attention')
  if theirs.get('position_embedding_type', 'absolute') != 'absolute':
    raise UserError('position_embedding_type of config.json: only absolute')
  kind, *_ = theirs.get('architectures') or ('BertModel',)
  classifier = kind == 'BertForSequenceClassification'
  return {
    **_one_width(theirs['hidden_size'], theirs['num_attention_heads']),
    'pooler': classifier or kind in ('BertModel', 'BertForPreTraining'),
    'mlm_head': kind in ('BertForMaskedLM', 'BertForPreTraining'),
    'num_classes': _num_classes(theirs) if classifier else 0,
  }


def _num_classes(theirs: Tree) -> int:
  """Number of labels; theirs name them, and leave two nameless ones out."""
  named = theirs.get('id2label')
  return len(named) if named else theirs.get('num_labels', 2)


def _write_bert(config: ModelConfig) -> dict[str, Any]:
  if not config.token_types:
    raise UserError('model.token_types = 0: a bert has at least 1')
  if config.num_classes:
    if config.mlm_head:
      raise UserError(
        f'model.num_classes = {config.num_classes} and model.mlm_head = True: '
        'a bert has one of the two'
      )
    labels = [f'LABEL_{number}' for number in range(config.num_classes)]
    return {
      'architectures': ['BertForSequenceClassification'],
      'id2label': {str(number): label for number, label in enumerate(labels)},
      'label2id': {label: number for number, label in enumerate(labels)},
    }
  kind = {
    (True, False): 'BertModel',
    (False, True): 'BertForMaskedLM',
    (True, True): 'BertForPreTraining',
  }.get((config.pooler, config.mlm_head))
  if kind is None:
    raise UserError('model.pooler and model.mlm_head = False: a bert has one')
  return {'architectures': [kind]}


def _read_t5(theirs: Tree) -> dict[str, Any]:
  layers = theirs['num_layers']
  if theirs.get('num_decoder_layers', layers) != layers:
    raise UserError(
      f'num_decoder_layers = {theirs["num_decoder_layers"]} of config.json: '
      f'only as many as num_layers = {layers}'
    )
  tied = theirs.get('tie_word_embeddings', True)
  padding = theirs.get('pad_token_id') or 0
  return {
    'num_kv_heads': theirs['num_heads'],
    'start_token': theirs.get('decoder_start_token_id', padding),
    'tied_head': tied,
    'scale_tied_head': tied,
  }


def _write_t5(config: ModelConfig) -> dict[str, Any]:
  return {
    'architectures': ['T5ForConditionalGeneration'],
    'num_decoder_layers': config.num_layers,
    'decoder_start_token_id': config.start_token,
    'pad_token_id': config.start_token,
    'tie_word_embeddings': config.tied_head,
  }


_PLAIN = {
  'logit_softcap': 0.0,
  'attention_softcap': 0.0,
  'qk_norm': False,
  'num_experts': 0,
  'parametrization': 'standard',
}
_DECODER = _PLAIN | {
  'architecture': 'decoder',
  'norm_position': 'pre',
  'attention_scale': 'sqrt',
  'embedding_norm': False,
  'scale_tied_head': False,
}
_HIDDEN = {
  'vocab_size': 'vocab_size',
  'num_layers': 'num_hidden_layers',
  'width': 'hidden_size',
  'num_heads': 'num_attention_heads',
  'ffn_width': 'intermediate_size',
  'max_length': 'max_position_embeddings',
}
_GELU = {'gelu': 'gelu_new', 'gelu_exact': 'gelu', 'relu': 'relu'}

FAMILIES: Mapping[str, Family] = {
  'gpt2': Family(
    fixed=_DECODER
    | {
      'norm': 'layer',
      'parallel_residual': False,
      'biases': True,
      'positions': 'learned',
    },
    fields={
      'vocab_size': 'vocab_size',
      'num_layers': 'n_layer',
      'width': 'n_embd',
      'num_heads': 'n_head',
      'max_length': 'n_positions',
      'norm_epsilon': 'layer_norm_epsilon',
    },
    choices={'activation': ('activation_function', _GELU)},
    read=_read_gpt2,
    write=_write_gpt2,
  ),
  'gpt_neox': Family(
    fixed=_DECODER
    | {
      'norm': 'layer',
      'biases': True,
      'positions': 'rotary',
      'rope_factor': 1.0,
    },
    fields=_HIDDEN
    | {
      'norm_epsilon': 'layer_norm_eps',
    },
    choices={'activation': ('hidden_act', _GELU)},
    read=_read_gpt_neox,
    write=_write_gpt_neox,
  ),
  'llama': Family(
    fixed=_DECODER
    | {
      'norm': 'rms',
      'parallel_residual': False,
      'biases': False,
      'positions': 'rotary',
      'rope_fraction': 1.0,
    },
    fields=_HIDDEN
    | {
      'norm_epsilon': 'rms_norm_eps',
    },
    choices={
      'activation': ('hidden_act', {'swiglu': 'silu', 'geglu': 'gelu_new'})
    },
    read=_read_llama,
    write=_write_llama,
  ),
  'bert': Family(
    fixed=_PLAIN
    | {
      'architecture': 'encoder',
      'norm': 'layer',
      'norm_position': 'post',
      'parallel_residual': False,
      'biases': True,
      'positions': 'learned',
      'attention_scale': 'sqrt',
      'embedding_norm': True,
      'tied_head': True,
      'scale_tied_head': False,
    },
    fields=_HIDDEN
    | {
      'token_types': 'type_vocab_size',
      'norm_epsilon': 'layer_norm_eps',
    },
    choices={'activation': ('hidden_act', _GELU)},
    read=_read_bert,
    write=_write_bert,
  ),
  't5': Family(
    fixed=_PLAIN
    | {
      'architecture': 'encoder_decoder',
      'norm': 'rms',
      'norm_position': 'pre',
      'parallel_residual': False,
      'biases': False,
      'positions': 'relative',
      'attention_scale': 'none',
      'embedding_norm': False,
    },
    fields={
      'vocab_size': 'vocab_size',
      'num_layers': 'num_layers',
      'width': 'd_model',
      'num_heads': 'num_heads',
      'head_width': 'd_kv',
      'ffn_width': 'd_ff',
      'norm_epsilon': 'layer_norm_epsilon',
      'relative_buckets': 'relative_attention_num_buckets',
      'relative_max_distance': 'relative_attention_max_distance',
    },
    choices={
      'activation': (
        'feed_forward_proj',
        {'relu': 'relu', 'geglu': 'gated-gelu'},
      )
    },
    read=_read_t5,
    write=_write_t5,
    # Early weights were published before these keys were.
    defaults={
      'feed_forward_proj': 'relu',
      'relative_attention_max_distance': 128,
    },
  ),
}
