"""
A simulator of the pix2pix endpoint for development: it has the same contract, edits pictures, and charges nobody.

It is for tests, yours included. Every answer carries the header `X-Retouch-Simulator`. See docs/simulator.md.
"""
