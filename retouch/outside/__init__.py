"""
The room that touches the outside: requests, urllib3 and Pillow live here and nowhere else in `retouch`.

`http` sends requests under a hard total deadline to vetted addresses, `pictures` judges bytes that claim to be an
image, `thumbnails` makes the small ones when first asked for. Nothing in `retouch` outside this room imports it.
"""
