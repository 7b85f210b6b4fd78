"""What runs on the node: plain Python >= 3.6 without anything installed, sent there on stdin.

The modules import each other by their full names, which `call` registers on the node before it runs
`main`. Paths are bytes there; job and answer are JSON, with bytes that are no UTF-8 as surrogates.
"""
