"""Validation of images, and thumbnails; only this package of `retouch` imports Pillow."""
