# SPDX-License-Identifier: Apache-2.0
"""The description of the API, made true: our own errors instead of the framework's, and who may what."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from longshore.domain.project import Scope
from longshore.http.auth import SESSION_COOKIE
from longshore.http.errors import Problem
from longshore.http.permissions import Door, Rule, rule_of

Document = dict[str, Any]

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
BYTES_IN: Document = {"requestBody": {"required": True, "content": _BINARY}}
BYTES_OUT: dict[int | str, Document] = {
    200: {"description": "The whole object.", "content": _BINARY},
    206: {"description": "The stretch that `Range` asks for.", "content": _BINARY},
}
NO_CONTENT: dict[int | str, Document] = {200: {"description": "Headers only.", "content": {}}}
_PROBLEM_REF = "#/components/schemas/Problem"
_FRAMEWORKS = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> Document:
    """The OpenAPI document of an application."""
    document = get_openapi(
        title="Longshore", version=app.version, routes=app.routes, description=app.description
    )
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in _FRAMEWORKS:
        schemas.pop(name, None)
    schemas["Problem"] = models_json_schema([(Problem, "serialization")])[1]["$defs"]["Problem"]
    parts["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
    }
    for path, method, operation in _operations(document):
        _make_true(operation, rule_of(method.upper(), path))
    return document


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _make_true(operation: Document, rule: Rule) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    for family, words in (("4XX", "What was asked for cannot be."), ("5XX", "The server could not.")):
        answers[family] = {
            "description": words,
            "content": {"application/problem+json": {"schema": {"$ref": _PROBLEM_REF}}},
        }
    operation["security"] = [] if rule is Door.PUBLIC else [{"token": []}, {"session": []}]
    operation["x-longshore-scope"] = rule.name.lower() if isinstance(rule, Scope) else rule.value
