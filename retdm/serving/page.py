"""The service's page for people: its OpenAPI schema as plain HTML, which loads nothing."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace }
pre { overflow-x: auto; border: 1px solid; padding: .5rem }
th, td { text-align: left; vertical-align: top; padding-right: 1rem }
"""


def page(schema: Mapping[str, Any]) -> str:
    """An HTML page of the operations in an OpenAPI schema, and the models they answer with."""
    info = schema["info"]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            f"<p>{escape(info['summary'])}.</p>",
            '<p>For programs, generators of clients and Swagger: <a href="openapi.json">'
            "openapi.json</a>.</p>",
            *(
                line
                for path, methods in schema["paths"].items()
                for method, operation in methods.items()
                for line in _operation(method.upper(), path, operation)
            ),
            "<h2>Answers</h2>",
            *(
                line
                for name, model in schema["components"]["schemas"].items()
                if "properties" in model
                for line in _model(name, model)
            ),
            "</main></body></html>",
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2>"
    yield f"<pre>{escape(operation['description'])}</pre>"
    if parameters := operation.get("parameters"):
        yield from _table(
            "parameter", [(one["name"], one.get("description", "")) for one in parameters]
        )
    yield from _table(
        "status",
        [(status, one["description"]) for status, one in operation["responses"].items()],
    )


def _model(name: str, model: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3>{escape(name)}</h3><p>{escape(model.get('description', ''))}</p>"
    yield from _table(
        "field",
        [(field, about.get("description", "")) for field, about in model["properties"].items()],
    )


def _table(what: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    yield f'<table><tr><th scope="col">{what}</th><th scope="col">meaning</th></tr>'
    for name, meaning in rows:
        yield f"<tr><td><code>{escape(name)}</code></td><td>{escape(meaning)}</td></tr>"
    yield "</table>"
