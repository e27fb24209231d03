"""Model shapes by name: plain numbers.

The `nest` family is a ladder for studies: one shape grown in width and depth
together, named by its parameters outside the embedding and the output head.
Feed-forward width is 8/3 of the width, to the nearest multiple of 8, so that a
layer with a gate holds 12 width^2 parameters, as one of four times the width
without. Learning rates fall with the parameters to the power -0.36, through the
best of a sweep in factors of two at 14k, 98k and 590k on 250,000 tokens.
"""

# name: (layers, width, heads, feed-forward width, learning rate)
_NEST = {
  'nest-6k': (2, 16, 1, 40, 22e-3),
  'nest-14k': (2, 24, 1, 64, 16e-3),
  'nest-38k': (2, 40, 1, 104, 11e-3),
  'nest-98k': (2, 64, 2, 168, 8e-3),
  'nest-260k': (2, 104, 2, 280, 5.6e-3),
  'nest-590k': (3, 128, 4, 344, 4e-3),
  'nest-1.3m': (3, 192, 6, 512, 3.1e-3),
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
