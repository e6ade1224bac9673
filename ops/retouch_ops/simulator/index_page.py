"""The simulator's index page: settings, books, latest requests, and the control calls as curl commands."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from retouch_ops.simulator.admission import base_url
from retouch_ops.simulator.answers import BANNER
from retouch_ops.simulator.audit import Line
from retouch_ops.simulator.config import SimulatorConfig
from retouch_ops.simulator.faults import FAULTS
from retouch_ops.simulator.state import SimulatorState

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1c1c1c;background:#fff}main{max-width:70em;margin:auto;"
    "padding:1em}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25em .6em;"
    "border-bottom:1px solid #8884}pre{background:#8882;padding:.8em;overflow-x:auto}.wide{overflow-x:auto}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#16181c}a{color:#8bf}}"
)
_ABOUT = """
<p>A simulator of the pix2pix endpoint, for development and for your own tests: it has the same contract, edits
pictures with simple filters, counts what would have been charged, and fails on request.</p>
<p>Edits: <code>POST {url}/api/v5/pix2pix</code>. A picture to start with:
<a href="/samples/portrait.jpg">/samples/portrait.jpg</a>.</p>
"""
_EXAMPLES = """\
curl {url}/api/v5/pix2pix -H 'Content-Type: application/json' -d '{{"key": "any", "prompt": "a sketch [[order-17]]", \
"init_image": "{url}/samples/portrait.jpg", "image_guidance_scale": 1, "steps": 50, "guidance_scale": 7}}'
curl {url}/control/settings -d '{{"latency_s": 4.6, "cap": 10}}'
curl {url}/control/faults -d '{{"next": [{{"kind": "html_502", "times": 2}}], "rates": {{"failed": 0.05}}, "seed": 1}}'
curl {url}/control/books
curl -X POST {url}/control/reset
"""


async def show(state: SimulatorState, request: Request) -> Response:
    """Return the index page."""
    url = base_url(request, state)
    sums = state.books.as_json(totals=True)
    parts = [
        "<h1>Retouch simulator</h1>",
        _ABOUT.format(url=escape(url)),
        f"<h2>Control calls</h2><pre>{escape(_EXAMPLES.format(url=url))}</pre>",
        f"<h2>Books</h2>{_table(sums)}<p><a href='/control/books'>All entries as JSON</a></p>",
        f"<h2>Latest requests</h2>{_requests(list(state.books.recent))}",
        f"<h2>Faults to come</h2>{_table(state.faults.as_json())}",
        f"<h2>Settings</h2>{_settings(state.config)}",
        f"<h2>Fault kinds</h2>{_table({kind: f'{stage}: {means}' for kind, (stage, means) in FAULTS.items()})}",
    ]
    return HTMLResponse(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Retouch simulator</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{BANNER}<main>{''.join(parts)}</main></body></html>"
    )


def _table(rows: Mapping[str, object]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{cells}</table>"


def _settings(config: SimulatorConfig) -> str:
    fields = SimulatorConfig.model_fields
    rows = "".join(
        f"<tr><th>{name}</th><td>{_text(value)}</td><td>{escape(fields[name].description or '')}</td></tr>"
        for name, value in config.as_json().items()
    )
    return f'<div class="wide"><table>{rows}</table></div>'


def _requests(lines: list[Line]) -> str:
    if not lines:
        return "<p>None yet: send the first command above.</p>"
    head = "<tr><th>when</th><th>tag</th><th>prompt</th><th>answer</th><th>charged</th><th>took</th><th></th></tr>"
    return f'<div class="wide"><table>{head}{"".join(map(_row, lines))}</table></div>'


def _row(line: Line) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(line.at))
    link = f'<a href="{line.link}">picture</a>' if line.link else ""
    cells = [when, line.identity.tag[:40], line.prompt[:200], line.answer, "yes" if line.charged else "no"]
    return (
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{line.seconds:.2f} s</td><td>{link}</td></tr>"
    )


def _text(value: object) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value))
