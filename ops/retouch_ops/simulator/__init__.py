"""
A simulator of the pix2pix endpoint for development. It has the endpoint's contract, edits pictures, and charges nobody.

It is for tests, also for those of your own code. Every answer has the header `X-Retouch-Simulator`. See
docs/simulator.md.
"""
