"""The report as one HTML file: nothing it needs is outside of it, and no script is in it.

Where a policy blocks its styles as well, the semantics of HTML and the attributes of SVG are left,
and it is made to be read by these alone.
"""

from cachekit.reports.html.page import render

__all__ = ["render"]
