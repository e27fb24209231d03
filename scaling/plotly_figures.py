"""Figures drawn by Plotly, where a pointer shows every value."""

from typing import TYPE_CHECKING, Any

from configs.errors import UserError
from scaling import plot_data
from scaling.plot_data import Axis, Band, Bars, Line, Markers, Rule, Style

if TYPE_CHECKING:
  from plotly.graph_objects import Figure

_HEIGHT = 560  # pixels
_FONT = 14  # pixels
_ENTRY = 24  # pixels of the legend's height, that each entry takes


def draw(figure: plot_data.Figure) -> 'Figure':
  """A Plotly figure of a description.

  Raises:
    UserError: Plotly is not installed.
  """
  objects = _graph_objects()
  drawn = objects.Figure()
  for layer in figure.layers:
    if isinstance(layer, Rule):
      drawn.add_shape(**_rule(layer))
    elif isinstance(layer, Band):
      drawn.add_traces([objects.Scatter(**edge) for edge in _band(layer)])
    else:
      drawn.add_trace(objects.Scatter(**_trace(layer, figure)))
  labels = [layer.label for layer in figure.layers if layer.label]
  height = _HEIGHT * figure.height
  drawn.update_layout(
    template='plotly_white',
    title={'text': figure.title, 'x': 0.5},
    font={'size': _FONT},
    xaxis=_axis(figure.x),
    yaxis=_axis(figure.y),
    height=height + _ENTRY * len(labels),
    margin={'l': 70, 'r': 20, 't': 50 if figure.title else 20, 'b': 60},
    hovermode='closest',
    # Below the plot, whose margin grows with it.
    legend={'orientation': 'h', 'y': -0.18, 'yanchor': 'top'},
  )
  return drawn


def _graph_objects() -> Any:
  try:
    from plotly import graph_objects
  except ImportError as error:
    raise UserError(
      "figures by Plotly need the plotly extra: pip install -e '.[plotly]', "
      'or make install EXTRAS=plotly'
    ) from error
  return graph_objects


def _axis(axis: Axis) -> dict[str, Any]:
  return {
    'title': {'text': axis.label},
    'type': axis.scale,
    'autorange': 'reversed' if axis.reversed else True,
    'exponentformat': 'power',
    'ticks': 'outside',
    'showline': True,
    'linecolor': '#666666',
    'zeroline': False,
  }


def _trace(layer: Markers | Line | Bars, figure: plot_data.Figure) -> dict:
  style = layer.style
  trace = {
    'x': layer.x,
    'y': layer.y,
    'name': layer.label,
    'showlegend': bool(layer.label),
    'hovertemplate': _hover(layer, figure),
  }
  if isinstance(layer, Line):
    width = 2.4 if layer.label else 1.6
    line = {'color': style.colour, 'dash': style.dash, 'width': width}
    return trace | {'mode': 'lines', 'line': line}
  trace |= {'mode': 'markers', 'marker': _marker(style, figure.crowded)}
  if layer.notes:
    trace['text'] = layer.notes
  if isinstance(layer, Bars):
    below, above = layer.reach
    trace['customdata'] = list(zip(layer.lower, layer.upper, strict=True))
    trace['error_y'] = {
      'type': 'data',
      'symmetric': False,
      'array': above,
      'arrayminus': below,
      'color': style.colour if style.strong else '#808080',
      'thickness': 2.5 if style.strong else 1.2,
      'width': 7 if style.strong else 3,
    }
  return trace


def _hover(layer: Markers | Line | Bars, figure: plot_data.Figure) -> str:
  lines = [f'<b>{layer.label}</b>'] if layer.label else []
  if not isinstance(layer, Line) and layer.notes:
    lines.append('%{text}')
  lines += [f'{figure.x.label}: %{{x:.4~g}}', f'{figure.y.label}: %{{y:.4~g}}']
  if isinstance(layer, Bars):
    lines.append('%{customdata[0]:.4~g} to %{customdata[1]:.4~g}')
  return '<br>'.join(lines) + '<extra></extra>'


def _marker(style: Style, crowded: bool) -> dict[str, Any]:
  small = crowded and not style.strong
  size, edge = (6, 0.4) if small else (10, 0.8)
  if style.strong:
    size = 18 if style.marker == 'star' else 12
  return {
    'symbol': style.marker,
    'size': size,
    'color': style.colour if style.filled else 'white',
    'line': {
      'color': 'black' if style.filled else style.colour,
      'width': edge if style.filled else edge + 1,
    },
  }


def _band(layer: Band) -> list[dict[str, Any]]:
  """Its two edges, without lines; the second fills down to the first."""
  edge = {
    'x': layer.x,
    'mode': 'lines',
    'line': {'width': 0},
    'hoverinfo': 'skip',
    'legendgroup': layer.label,
  }
  return [
    edge | {'y': layer.lower, 'showlegend': False},
    edge
    | {
      'y': layer.upper,
      'name': layer.label,
      'fill': 'tonexty',
      'fillcolor': layer.style.colour,
    },
  ]


def _rule(layer: Rule) -> dict[str, Any]:
  across = 'y' if layer.axis == 'x' else 'x'
  return {
    'type': 'line',
    f'{layer.axis}0': layer.at,
    f'{layer.axis}1': layer.at,
    f'{across}0': 0,
    f'{across}1': 1,
    f'{across}ref': f'{across} domain',
    'line': {
      'color': layer.style.colour,
      'dash': layer.style.dash,
      'width': 1.6,
    },
    'layer': 'below',
    'name': layer.label,
    'showlegend': bool(layer.label),
  }
