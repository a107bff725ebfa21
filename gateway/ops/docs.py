"""The API reference as one page, rendered from the OpenAPI document and nothing else."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.ops import markdown
from gateway.ops.markup import Child, Html, el, join, table
from gateway.ops.page import page, section

Json = Mapping[str, Any]


def render(document: Json) -> str:
    """Guide, operations by tag, then what they share."""
    reference = _Reference(document)
    info = document["info"]
    tags = [section(tag["name"], reference.tag(tag), id_=tag["name"].lower()) for tag in document["tags"]]
    return page(
        "API reference",
        el("h1", "API reference"),
        el("p", info["summary"], f" Version {info['version']}.", class_="lead"),
        el("nav", reference.contents(), aria_label="On this page", class_="contents"),
        section("How it works", markdown.blocks(info["description"], level=2), id_="guide"),
        *tags,
        section("Headers of requests", reference.request_headers(), id_="request-headers"),
        section("Headers of answers", reference.answer_headers(), id_="answer-headers"),
        section("Objects", reference.objects(), id_="objects"),
        here="/docs",
    )


class _Reference:
    """Looks things up in the document."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._components = document["components"]

    def contents(self) -> Html:
        return el("ul", [el("li", self._of_tag(tag)) for tag in self._document["tags"]])

    def tag(self, tag: Json) -> Html:
        operations = [self._operation(*found) for found in self._operations(tag["name"])]
        return join(el("p", markdown.inline(tag["description"])), operations)

    def request_headers(self) -> Html:
        """Headers that requests may carry, credentials before the others."""
        components = self._components
        schemes = components["securitySchemes"]
        described = [
            *({"name": _header(scheme), **scheme} for name, scheme in schemes.items() if name != "opsToken"),
            *(each for each in components["parameters"].values() if each["in"] == "header"),
        ]
        return table(
            ("Header", "Is", "Means", "Example"),
            [
                (
                    el("code", header["name"], id=f"request-{header['name'].lower()}"),
                    self._type(header.get("schema", {"type": "string"})),
                    markdown.inline(header["description"]),
                    _example(header),
                )
                for header in described
            ],
            caption="Headers of requests",
        )

    def answer_headers(self) -> Html:
        return table(
            ("Header", "Means", "Example"),
            [
                (el("code", name), markdown.inline(header["description"]), _example(header))
                for name, header in self._components["headers"].items()
            ],
            caption="Headers of answers",
        )

    def objects(self) -> Html:
        return join([self._object(name, schema) for name, schema in self._components["schemas"].items()])

    def _operations(self, tag: str) -> Iterator[tuple[str, str, Json, Json]]:
        for path, item in self._document["paths"].items():
            for method, operation in item.items():
                if isinstance(operation, dict) and tag in operation["tags"]:
                    yield path, method.upper(), item, operation

    def _of_tag(self, tag: Json) -> Html:
        links = [
            el("li", el("a", operation["summary"], href=f"#{operation['operationId']}"))
            for _, _, _, operation in self._operations(tag["name"])
        ]
        return join(el("a", tag["name"], href=f"#{tag['name'].lower()}"), el("ul", links))

    def _operation(self, path: str, method: str, item: Json, operation: Json) -> Html:
        id_ = operation["operationId"]
        parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
        return el(
            "section",
            el("h3", operation["summary"], id=id_),
            el("p", el("code", el("b", method), f" {path}"), class_="route"),
            el("p", markdown.inline(operation["description"])) if "description" in operation else None,
            [self._sample(sample) for sample in operation["x-codeSamples"]],
            self._parameters(operation, parameters),
            self._body(operation.get("requestBody")),
            self._responses(operation["responses"]),
            aria_labelledby=id_,
            class_="operation",
        )

    def _sample(self, sample: Json) -> Html:
        return join(
            el("p", sample["label"], ":", class_="aside"),
            el(
                "pre",
                el("code", sample["source"]),
                tabindex=0,
                aria_label=f"Example: {sample['label']}",
                role="group",
            ),
        )

    def _parameters(self, operation: Json, parameters: list[Json]) -> Html:
        """Those of path and query; headers by name only, because they are the same for most operations."""
        resolved = [*self._credentials(operation), *map(self._resolved, parameters)]
        rows = [
            (
                el("code", parameter["name"]),
                f"{parameter['in']}, {_needed(parameter)}",
                self._type(parameter["schema"]),
                markdown.inline(parameter.get("description", "")),
                _example(parameter),
            )
            for parameter in resolved
            if parameter["in"] != "header"
        ]
        named = [
            join(
                el("a", el("code", parameter["name"]), href=f"#request-{parameter['name'].lower()}"),
                " (required)" if parameter.get("required") else None,
            )
            for parameter in resolved
            if parameter["in"] == "header"
        ]
        head = ("Parameter", "In", "Is", "Means", "Example")
        return join(
            table(head, rows, caption="Parameters") if rows else None,
            el("p", "Headers: ", *_separated(named), ".") if named else None,
        )

    def _credentials(self, operation: Json) -> list[Json]:
        """The headers that carry credentials, as parameters; required is what every alternative has."""
        choices = [set(choice) for choice in operation.get("security", self._document["security"])]
        return [
            {
                "name": _header(scheme),
                "in": "header",
                "required": all(name in choice for choice in choices),
                "schema": {"type": "string"} if scheme["type"] == "apiKey" else {"const": "Bearer …"},
                "description": scheme["description"],
            }
            for name, scheme in self._components["securitySchemes"].items()
            if any(name in choice for choice in choices)
        ]

    def _body(self, body: Json | None) -> Child:
        if body is None:
            return None
        ((media, content),) = body["content"].items()
        sort = "JSON" if media == "application/json" else "Form"
        return join(el("h4", "Body"), el("p", f"{sort}: ", self._type(content["schema"]), "."))

    def _responses(self, responses: Json) -> Html:
        """The successes; the errors folded away, because they are much the same everywhere."""
        resolved = {status: self._resolved(response) for status, response in responses.items()}
        good = [
            (
                status,
                markdown.inline(answer["description"]),
                join(*_separated(el("code", name) for name in answer.get("headers", {}))),
            )
            for status, answer in resolved.items()
            if status.startswith("2")
        ]
        bad = [
            ("other" if status == "default" else status, markdown.inline(answer["description"]))
            for status, answer in resolved.items()
            if not status.startswith("2")
        ]
        return join(
            table(("Status", "Means", "Headers"), good, caption="Answers"),
            [_body_example(answer) for status, answer in resolved.items() if status.startswith("2")],
            el(
                "details",
                el("summary", "Errors: ", ", ".join(status for status, _ in bad)),
                table(("Status", "Means"), bad, caption="Errors"),
            )
            if bad
            else None,
        )

    def _object(self, name: str, schema: Json) -> Html:
        rows = [
            (
                el("code", field),
                "required" if field in schema.get("required", ()) else "optional",
                self._type(inner),
                markdown.inline(inner.get("description", "")),
            )
            for field, inner in schema.get("properties", {}).items()
        ]
        examples = schema.get("examples", ())
        return join(
            el("h3", name, id=f"object-{name}"),
            el("p", markdown.inline(schema["description"])) if "description" in schema else None,
            [el("p", "All of ", self._type(base), ", and:") for base in schema.get("allOf", ())],
            table(("Field", "", "Is", "Means"), rows, caption=f"Fields of {name}")
            if rows
            else el("p", self._type(schema)),
            [el("pre", el("code", json.dumps(example, indent=2)), tabindex=0) for example in examples],
        )

    def _type(self, schema: Json) -> Html:
        """One schema in a few words; named ones as links."""
        match schema:
            case {"$ref": reference}:
                name = reference.rpartition("/")[2]
                return el("a", name, href=f"#object-{name}")
            case {"const": value}:
                return el("code", value)
            case {"enum": values}:
                return join(*_separated((el("code", value) for value in values), ", "))
            case {"anyOf": choices}:
                return join(*_separated(map(self._type, choices), " or "))
            case {"type": "array", "items": items}:
                return join("list of ", self._type(items))
            case {"type": "integer", "minimum": least, "maximum": most}:
                return join(f"whole number, {least:,} to {most:,}")
            case {"type": "string", "pattern": pattern}:
                return el("code", pattern)
            case _:
                return join({"integer": "whole number", "string": "text"}.get(schema["type"], schema["type"]))

    def _resolved(self, part: Json) -> Json:
        if "$ref" not in part:
            return part
        _, _, kind, name = part["$ref"].split("/")
        found: Json = self._components[kind][name]
        return found


def _example(parameter: Json) -> Child:
    if "example" not in parameter:
        return None
    example = parameter["example"]
    return el("code", ",".join(example) if isinstance(example, list) else example)


def _body_example(answer: Json) -> Child:
    content = answer.get("content", {}).get("application/json", {})
    examples = [each["value"] for each in content.get("examples", {}).values()] or [content.get("example")]
    if examples[0] is None:
        return None
    shown = json.dumps(examples[0], indent=2)
    return el("details", el("summary", "Example of an answer"), el("pre", el("code", shown), tabindex=0))


def _needed(parameter: Json) -> str:
    return "required" if parameter.get("required") else "optional"


def _header(scheme: Json) -> str:
    """The header that carries a credential."""
    name: str = scheme["name"] if scheme["type"] == "apiKey" else "Authorization"
    return name


def _separated(pieces: Iterable[Html], separator: str = ", ") -> Iterator[Child]:
    for number, piece in enumerate(pieces):
        if number:
            yield separator
        yield piece
