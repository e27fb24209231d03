"""Pages that work offline, from Jinja's templates."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jinja2


def render(
  template: pathlib.Path,
  filters: Mapping[str, Callable[..., Any]],
  **values: Any,
) -> str:
  """Fills a template in; values are escaped as HTML wants it.

  Args:
    template: its file; it may include others of its folder.
    filters: what it can apply to a value, by name.
    values: what it tells of.

  Raises:
    jinja2.UndefinedError: it tells of something that is not given.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(template.parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= filters
  rendered = environment.get_template(template.name).render(**values)
  # The name of a file may hold what is no Unicode.
  return rendered.lstrip().encode(errors='replace').decode()
