"""The checks of `retouch doctor`: one module for each part of a running system."""
