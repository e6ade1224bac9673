"""The smallest FastAPI app with a route for edits: `python -m retouch_ops.bench.baselines.bare_route PORT`."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

app = FastAPI()


@app.post("/v1/edits")
async def accept(request: Request) -> JSONResponse:
    """Parse the body, and return its prompt with status 202."""
    body = await request.json()
    return JSONResponse({"prompt": body["prompt"]}, 202)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
