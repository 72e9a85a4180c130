"""Serves the console's files, under a policy that lets a page run and fetch nothing but its own."""

from importlib.resources import files

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse, Response

from api.rest.authentication import Permission, require
from federation.errors import NotFound

PUBLIC = Depends(require(Permission.PUBLIC))
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FILES = {
    name: name.rpartition(".")[2]
    for name in ("index.html", "console.css", "console.js", "client.js", "views.js")
}


def router() -> APIRouter:
    """/console/."""
    routes = APIRouter(prefix="/console")
    routes.add_api_route("", to_index, methods=["GET"], include_in_schema=False)
    routes.add_api_route("/{name:path}", static, methods=["GET"], include_in_schema=False)
    return routes


async def to_index(_anyone: None = PUBLIC) -> Response:
    """The console's one page."""
    return RedirectResponse("/console/")


async def static(name: str, _anyone: None = PUBLIC) -> Response:
    """One of the console's files. Raises NotFound for any other name."""
    wanted = name or "index.html"
    if wanted not in FILES:
        raise NotFound(f"the console has no {wanted!r}", hint="/console/")
    content = files("api.console").joinpath("static", wanted).read_bytes()
    return Response(content, media_type=TYPES[FILES[wanted]], headers=HEADERS)
