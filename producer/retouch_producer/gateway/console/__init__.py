"""The ops console at `/console`: pages rendered on the server, which work without JavaScript and are live with it."""
