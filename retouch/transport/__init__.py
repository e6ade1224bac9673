"""How a client reaches the queue: over Redis or over the HTTP gateway, behind one interface."""
