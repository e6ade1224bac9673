"""
A development stand-in for the pix2pix endpoint: it speaks the same contract, edits for real, and charges nobody.

It is a fake for tests, yours included: every answer carries the header `X-Retouch-Simulator`. See docs/simulator.md.
"""
