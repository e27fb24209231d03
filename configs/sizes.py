"""Model shapes by name: plain numbers.

The `nest` family is a ladder for small studies: one shape of two layers, grown
in width alone, so that nothing but size changes from rung to rung. It is named
by its parameters outside the embedding and the output head. Heads are 16 wide,
as many as fit; feed-forward width is 8/3 of the width, to the nearest multiple
of 8, so that a layer with a gate holds 12 width^2 parameters, as one of four
times the width without. Learning rates fall with width^-0.72, that is with
parameters^-0.36, the trend of the best of sweeps in factors of two.
"""

_NUM_LAYERS = 2
_HEAD_WIDTH = 16

_NEST_WIDTHS = {
  'nest-12k': 24,
  'nest-25k': 32,
  'nest-56k': 48,
  'nest-98k': 64,
  'nest-222k': 96,
  'nest-396k': 128,
  'nest-886k': 192,
}


def _nest(width: int) -> dict[str, int | float]:
  num_heads = width // _HEAD_WIDTH
  return {
    'num_layers': _NUM_LAYERS,
    'width': width,
    'num_heads': num_heads,
    'num_kv_heads': num_heads,
    'head_width': _HEAD_WIDTH,
    'ffn_width': 8 * round(width / 3),
    'learning_rate': float(f'{8e-3 * (width / 64) ** -0.72:.2g}'),
  }


SIZES = {name: _nest(width) for name, width in _NEST_WIDTHS.items()}
