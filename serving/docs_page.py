"""The page at `/docs`: the OpenAPI document in plain HTML.

No script and nothing from another host, so it works without a network and gives a third party no place beside the API.
"""

import json
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f4f5f7;padding:.8rem;overflow:auto;border-radius:6px}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #d5d9e0}details{margin:.6rem 0}
summary{cursor:pointer;padding:.3rem 0}table{border-collapse:collapse;margin:.5rem 0}
td,th{border:1px solid #d5d9e0;padding:.25rem .6rem;text-align:left;vertical-align:top}
.method{display:inline-block;min-width:4.2rem;font-weight:600}
@media(prefers-color-scheme:dark){body{background:#14171c;color:#dfe3ea}pre{background:#1e232b}
td,th,h2{border-color:#333b47}a{color:#8ab4ff}}
"""

_Json = dict[str, Any]


def docs_page(document: _Json) -> str:
    """`document`, an OpenAPI 3.1 one, as a page for people: every operation, its parameters, bodies and answers."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(path, method, operation))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in groups.items())
    schemas = document.get("components", {}).get("schemas", {})
    body += "<h2>schemas</h2>" + "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info.get('summary', ''))}</p>"
        "<p>Send your key as <code>Authorization: Bearer &lt;key&gt;</code>. The whole description for machines is "
        '<a href="/openapi.json">/openapi.json</a>; <code>/v1/chat/completions</code> and <code>/v1/models</code> '
        f"work with any OpenAI client.</p>{body}</body></html>"
    )


def _operation(path: str, method: str, operation: _Json) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
            f"<td>{_type(parameter.get('schema', {}))}</td><td>{escape(parameter.get('description', ''))}</td></tr>"
            for parameter in operation["parameters"]
        )
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>{rows}</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>body <code>{escape(kind)}</code>: {_type(content.get('schema', {}))}</p>")
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(answer.get('description', ''))}</td><td>"
        + ", ".join(
            f"<code>{escape(kind)}</code> {_type(content.get('schema', {}))}"
            for kind, content in answer.get("content", {}).items()
        )
        + "</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<table><tr><th>answer</th><th></th><th>body</th></tr>{rows}</table>")
    return (
        f'<details><summary><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</summary>{''.join(parts)}</details>"
    )


def _schema(name: str, schema: _Json) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' (optional)'}</td>"
        f"<td>{_type(value)}</td><td>{escape(value.get('description', ''))}</td></tr>"
        for field, value in schema.get("properties", {}).items()
    )
    return (
        f'<details id="{escape(name, quote=True)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{escape(schema.get('description', ''))}</p><table>{rows}</table></details>"
    )


def _type(schema: _Json) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{escape(name, quote=True)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    return escape(str(schema.get("title") if schema.get("type") == "object" else schema.get("type", "any")))
