import jinja2
import pytest

from configs.pages import render


def test_a_page_is_filled_in_and_escaped(tmp_path):
  template = tmp_path / 'page.jinja'
  template.write_text(
    "\n{% if x %}\n{{ x | twice }}{% include 'y' %}\n{% endif %}"
  )
  (tmp_path / 'y').write_text(' {{ y }}')
  filters = {'twice': lambda text: 2 * text}
  assert render(template, filters, x='<', y='a\udc80') == '&lt;&lt; a?'
  with pytest.raises(jinja2.UndefinedError, match="'y' is undefined"):
    render(template, filters, x='<')
