"""Runs that nobody starts by hand: units for what starts them, and holds that suspend them."""
