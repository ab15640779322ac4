"""The dashboard: pages on the gateway's own address, by Jinja2, htmx and uPlot. No build step, nothing from elsewhere.

**How to add a page.** One module here, one template in `templates/`, one entry in `tour.PAGES`.

- The module has a handler, `def show(site: Site, asked: Asked) -> Response`. It blocks as it likes: it is called in one
  of a few threads. `asked` is the request (who, query, form, now); `asked.tenant` is the only tenant that may be seen,
  and goes into every question to `site.sources` or to control's services. `site.render(asked, "x.html", here=...,
  title=..., ...)` answers; `site.go(path)` goes on after a form. Errors are raised: `NotServed`, `BadRequest`,
  `Denied` become pages of their own. What is slow is not computed: rollups and keyset pages, no counts over rows.
- It ends with `PAGE = Page(name, title, path, group, key, routes)`. An entry in `tour.COUNTS` puts a number
  beside its entry in the navigation.
- A form that changes something goes through `acting.acted`: where it cannot be done, its page comes again with the
  reason. After it worked, `site.go(path, done="word")`, and `acting.done` says the sentence. `acting.allowed` is for
  templates: what a role may not do it is not offered; the service refuses it all the same.
- The template extends `base.html` and fills `main`. There is no style attribute and no inline script: the content
  policy would not run them. Lengths of bars are attributes of SVG.
- Whatever a stranger wrote is shown by the filters `visible` (texts), `name` (words within ours) or `plain` (in titles
  and labels); a value that has to come back as it was is escaped by itself. The rest by `cost`, `money`, `exact`, `ms`,
  `span`, `count_of`, `short`, `share`, `moment`, `minute`; times by `ago(seconds)`. `link(path, name=value)` makes
  addresses, `asked.address(name=value)` this page's with a change, `|segment` a part of a path.
- Macros (`ui.`): `icon`, `badge` (sign and word: never colour alone), `ending`, `verdict`, `bar`, `plot` (with its
  figures as a table), `tabs`, `pager`, `delta`, `copy`, `copyable`, `token` (in every form that changes something);
  `rows.html` has the table of exchanges, `budgets.html` budgets as bars.
- Classes: `card` (`flush` where a table fills it), `tiles` and `tile`, `columns`, `filters`, `pairs`, `facts`, `note`,
  `scroll` (around every table), `stacked` (a table whose rows are blocks on a phone; `data-label` names a cell, `whole`
  gives it a line), `num`, `said`, `empty`, `primary`, `danger`, `quiet`, `chip`.
- A table is scrolled by its wrapper, never the page; a region that scrolls has `tabindex="0"`.

`tests/pages` walks every page: in both colours, wide and narrow, for errors on the console and barriers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.control.context import Control, Pages


def pages(control: Control) -> Pages:
    """The dashboard, for `control.app.build`."""
    from headgate.control.context import Pages
    from headgate.pages.site import Site
    from headgate.pages.tour import COUNTS, PAGES

    site = Site(control, PAGES)
    for name, count in COUNTS.items():
        site.counts[name] = partial(count, site)
    return Pages(routes=site.routes(), login=site.login, refused=site.refused)
