"""The HTTP gateway: health, and the images of a folder store for whoever holds their links."""
