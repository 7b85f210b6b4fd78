"""Public fakes and contract suites for authors of sources."""
