"""The embedded site that `cachekit demo` warms."""
