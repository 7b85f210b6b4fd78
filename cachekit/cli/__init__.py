"""Thin command line: options and one call each; nothing imports it."""
