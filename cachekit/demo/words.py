"""What the demo says around the report: what it is, what the report means, what to try next."""

from textwrap import indent

from cachekit.demo.shop import HOST, PAGE_SECONDS, SITE, public_paths
from cachekit.demo.site import DemoSite

_SITEMAP = f"--sitemap {SITE}/sitemap.xml"
_PAGES = f"{len(public_paths())} pages, {PAGE_SECONDS * 1000:.0f} ms each"


def welcome(site: DemoSite) -> str:
    """Introduce the site and the settings it is warmed by."""
    one, two = (node.address for node in site.nodes)
    return f"""\
A shop is up on this machine: {_PAGES}, behind two cold caching
nodes, {one} and {two}. The name {HOST} leads nowhere: each
node is asked by its own address, as you would ask new ones before they go live.

Now runs `cachekit warm`, by this cachekit.yaml:

{indent(site.settings, "    ")}"""


def meaning(site: DemoSite) -> str:
    """Explain the report, which always ends in no-go."""
    made, asked = site.shop.made, site.asked
    return f"""
What this means: the shop had to make {made:,} pages for {asked:,} requests; visitors get them
from the caches now. A real `cachekit warm` would have exited 1 and held the deploy: the
sitemap lists /broken and /account, which fail. /cart cannot be cached, which the gate
allows here (min_hit: 95%). The demo itself exits 0.
"""


def next_steps(command: str) -> str:
    """Tell what to try when the site is gone."""
    return f"""\
Try next:

  # keep this site up, and warm it yourself
  {command} demo --keep

  # begin settings for a site of your own
  {command} init

  # or warm it without any
  {command} warm --sitemap https://www.example.com/sitemap.xml --node 10.0.0.11"""


def kept(site: DemoSite, command: str) -> str:
    """Tell what to try on the site while it is up."""
    one, two = (node.address for node in site.nodes)
    return f"""\
The site stays up until Ctrl-C, and its nodes are cold again. Try in another terminal:

  # the same without a settings file; exits 1
  {command} warm {_SITEMAP} \\
      --node {one} --node {two}

  # without the pages that fail; exits 0, go
  {command} warm {_SITEMAP} \\
      --node {one} --node {two} \\
      --exclude /broken --exclude /account --min-hit 95%

  # by the settings file of this demo, for a program to read; exits 1
  {command} warm --settings {site.settings_file} --format json

  # one page, as a visitor of the first node gets it
  curl -i --compressed --connect-to ::{one} {SITE}/about
"""
