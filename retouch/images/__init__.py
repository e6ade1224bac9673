"""Images: the validation of bytes that claim to be one, and thumbnails. Pillow is imported here and nowhere else."""
