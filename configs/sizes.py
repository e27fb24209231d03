"""Model shapes by name: plain numbers.

The `nest` family is a ladder for studies: one shape grown in width and depth
together, named by its parameters outside the embedding and the output head.
Feed-forward width is 8/3 of the width, so that a gated block holds 12 width^2
parameters, as an ungated one with a width of 4 does. Learning rates were chosen
by the sweep in benchmarks/.
"""

# name: (layers, width, heads, feed-forward width, learning rate)
_NEST = {
  'nest-25k': (2, 32, 2, 88, 8e-3),
  'nest-55k': (2, 48, 3, 128, 8e-3),
  'nest-150k': (3, 64, 4, 168, 8e-3),
  'nest-440k': (4, 96, 6, 256, 6e-3),
  'nest-790k': (4, 128, 8, 344, 5e-3),
  'nest-1.5m': (5, 160, 10, 424, 4e-3),
}

SIZES: dict[str, dict[str, int | float]] = {
  name: {
    'num_layers': layers,
    'width': width,
    'num_heads': heads,
    'num_kv_heads': heads,
    'head_width': width // heads,
    'ffn_width': ffn_width,
    'learning_rate': learning_rate,
  }
  for name, (layers, width, heads, ffn_width, learning_rate) in _NEST.items()
}
