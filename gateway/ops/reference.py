"""Renders the OpenAPI document as Markdown: docs/api.md, and the page /docs. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.ops.markdown import anchor

Json = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete")
DEEPEST = 6
"""Levels of nested fields that are shown."""


def reference(document: Json) -> str:
    """The whole reference: routes, guide, operations by tag, and the headers that they share."""
    return "\n\n".join(_Reference(document).parts()) + "\n"


class _Reference:
    """Looks up what the document refers to."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._components = document["components"]

    def parts(self) -> Iterator[str]:
        info = self._document["info"]
        introduction, _, guide = info["description"].strip().partition("\n## ")
        yield f"# API reference\n\n{info['summary']} Version {info['version']}.\n\n{introduction}"
        yield "## Routes"
        routes = [
            (f"`{method} {path}`", f"[{operation['summary']}](#{anchor(operation['summary'])})")
            for method, path, _, operation in self._operations()
        ]
        yield _table(("Route", "Purpose"), routes)
        yield f"## {guide}"
        for tag in self._document["tags"]:
            yield f"## {tag['name']}\n\n{tag['description']}"
            for method, path, item, operation in self._operations():
                if tag["name"] in operation["tags"]:
                    yield from self._operation(method, path, item, operation)
        yield "## Request headers"
        yield _table(("Header", "Type", "Meaning", "Example"), map(self._header_row, self._request_headers()))
        yield "## Response headers"
        yield _table(
            ("Header", "Meaning", "Example"),
            [
                (f"`{name}`", header["description"], f"`{header['example']}`")
                for name, header in self._components["headers"].items()
            ],
        )
        yield "## Error object"
        yield self._fields({"$ref": "#/components/schemas/Errors"})

    def _operations(self) -> Iterator[tuple[str, str, Json, Json]]:
        for path, item in self._document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method.upper(), path, item, item[method]

    def _operation(self, method: str, path: str, item: Json, operation: Json) -> Iterator[str]:
        yield f"### {operation['summary']}\n\n`{method} {path}`"
        if "description" in operation:
            yield operation["description"]
        for sample in operation["x-codeSamples"]:
            yield f"{sample['label']}:\n\n```\n{sample['source']}\n```"
        yield from self._parameters([*item.get("parameters", ()), *operation.get("parameters", ())])
        yield from self._headers(operation)
        if "requestBody" in operation:
            ((media, content),) = operation["requestBody"]["content"].items()
            yield f"**Body**, `{media}`:"
            yield self._fields(content["schema"])
        yield from self._responses(operation["responses"])

    def _parameters(self, parameters: list[Json]) -> Iterator[str]:
        """Path and query parameters; headers are described once."""
        rows = [
            (
                f"`{parameter['name']}`",
                f"{parameter['in']}{', required' if parameter.get('required') else ''}",
                self._type(parameter["schema"]),
                parameter["description"],
                _example(parameter),
            )
            for parameter in map(self._resolved, parameters)
            if parameter["in"] != "header"
        ]
        if rows:
            yield "**Parameters**"
            yield _table(("Name", "In", "Type", "Meaning", "Example"), rows)

    def _headers(self, operation: Json) -> Iterator[str]:
        choices = [set(choice) for choice in operation.get("security", self._document["security"])]
        credentials = [
            (_header_of(scheme), all(name in choice for choice in choices))
            for name, scheme in self._components["securitySchemes"].items()
            if any(name in choice for choice in choices)
        ]
        others = [
            (parameter["name"], False)
            for parameter in map(self._resolved, operation.get("parameters", ()))
            if parameter["in"] == "header"
        ]
        if named := [
            f"`{name}`{' (required)' if required else ''}" for name, required in credentials + others
        ]:
            yield f"**[Headers](#request-headers)**: {', '.join(named)}."

    def _responses(self, responses: Json) -> Iterator[str]:
        """The answers of this operation; errors that operations share are described once."""
        shared = [
            f"`{status}`"
            for status in sorted(responses)
            if status[0] in "345" and "$ref" in responses[status]
        ]
        resolved = {
            status: self._resolved(response)
            for status, response in sorted(responses.items())
            if f"`{status}`" not in shared
        }
        yield "**Answers**"
        yield _table(
            ("Status", "Meaning"),
            [
                ("other" if status == "default" else f"`{status}`", answer["description"])
                for status, answer in resolved.items()
            ],
        )
        if shared:
            yield f"[Errors](#errors): {', '.join(shared)}."
        for status, answer in resolved.items():
            content = answer.get("content", {}).get("application/json", {})
            if status == "200" and "properties" in self._resolved(content.get("schema", {})):
                yield f"**Body of `{status}`**:"
                yield self._fields(content["schema"])
            if status == "200" and (example := _body_example(content)) is not None:
                yield f"```json\n{json.dumps(example, indent=2)}\n```"

    def _fields(self, schema: Json) -> str:
        """Every field of an object, nested ones as `data[].id`."""
        return _table(("Field", "Type", "Meaning"), self._field_rows(schema, "", DEEPEST))

    def _field_rows(self, schema: Json, prefix: str, depth: int) -> Iterator[tuple[str, ...]]:
        schema = self._resolved(schema)
        for base in schema.get("allOf", ()):
            yield from self._field_rows(base, prefix, depth)
        for name, field in schema.get("properties", {}).items():
            inner = self._resolved(field)
            if any("properties" in self._resolved(base) and name in self._resolved(base)["properties"]
                   for base in schema.get("allOf", ())):  # fmt: skip
                continue
            path = f"{prefix}{name}"
            needed = "" if name in schema.get("required", ()) else " (optional)"
            meaning = field.get("description") or inner.get("description", "")
            yield f"`{path}`", f"{self._type(field)}{needed}", meaning
            nested, end = (inner["items"], "[].") if inner.get("type") == "array" else (inner, ".")
            if depth:
                yield from self._field_rows(nested, path + end, depth - 1)

    def _request_headers(self) -> Iterator[Json]:
        """Headers that requests may carry, credentials first."""
        for name, scheme in self._components["securitySchemes"].items():
            if name != "opsToken":
                yield {**scheme, "name": _header_of(scheme), "schema": {"type": "string"}}
        for parameter in self._components["parameters"].values():
            if parameter["in"] == "header":
                yield parameter

    def _header_row(self, header: Json) -> tuple[str, ...]:
        return f"`{header['name']}`", self._type(header["schema"]), header["description"], _example(header)

    def _type(self, schema: Json) -> str:
        """A schema in a few words."""
        match self._resolved(schema):
            case _ if schema.get("$ref", "").endswith(("/Id", "/Type")):
                return f"[{schema['$ref'].rpartition('/')[2].lower()}](#types-and-ids)"
            case {"const": value}:
                return f"`{value}`"
            case {"enum": values}:
                return ", ".join(f"`{value}`" for value in values)
            case {"type": "array", "items": items}:
                return f"list of {self._type(items)}"
            case {"type": "integer", "minimum": least, "maximum": most}:
                return f"integer, {least:,} to {most:,}"
            case {"type": "string", "pattern": pattern}:
                return f"string, `{pattern}`"
            case {"type": type_}:
                return str(type_)
        return "any"

    def _resolved(self, part: Json) -> Json:
        if "$ref" not in part:
            return part
        _, _, kind, name = part["$ref"].split("/")
        found: Json = self._components[kind][name]
        return found


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head), *map(list, rows)]
    lines = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in cells]
    return "\n".join(
        [f"| {lines[0]} |", "|" + " --- |" * len(cells[0]), *(f"| {line} |" for line in lines[1:])]
    )


def _example(parameter: Json) -> str:
    if "example" not in parameter:
        return ""
    match parameter["example"]:
        case list(pieces):
            return f"`{','.join(pieces)}`"
        case dict(pieces):
            return ", ".join(f"`{parameter['name']}[{name}]={value}`" for name, value in pieces.items())
        case value:
            return f"`{value}`"


def _body_example(content: Json) -> Any:
    first: Json = next(iter(content.get("examples", {}).values()), {})
    return first.get("value", content.get("example"))


def _header_of(scheme: Json) -> str:
    """The header that carries a credential."""
    return str(scheme["name"]) if scheme["type"] == "apiKey" else "Authorization"
