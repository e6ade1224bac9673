"""Checks images and makes thumbnails; only this package of `retouch` imports Pillow."""
