"""What enqueues for everybody else: the producing commands of `retouch` and the HTTP gateway."""
