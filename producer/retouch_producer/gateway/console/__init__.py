"""The ops console at `/console`: pages rendered on the server. JavaScript only adds live updates."""
