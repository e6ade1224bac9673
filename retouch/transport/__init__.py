"""How a client reaches the queue: `direct`, over Redis, or `remote`, over the HTTP gateway, behind one interface."""
