"""The tests of cachekit."""
