"""
A simulator of the pix2pix endpoint for development. It has the endpoint's contract, edits pictures, and charges nobody.

You can use it in your own tests too. Every answer has the header `X-Retouch-Simulator`. See docs/simulator.md.
"""
