"""The Prometheus endpoint: `/metrics` and nothing else, on a port of its own."""

from __future__ import annotations

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kraal.admin.http.exposition import CONTENT_TYPE, MetricsCollector, lines
from kraal.admin.http.responses import sliced_response
from kraal.admin.source import AdminSource


def build_metrics(source: AdminSource) -> Starlette:
    """The application of the metrics port."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(source))
    if source.config.admin.export_process_info:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    async def metrics(request: Request) -> Response:
        names = frozenset(request.query_params.getlist("name[]"))
        text = lines(registry.collect(), names)
        return sliced_response(iter(text), 200, {"content-type": CONTENT_TYPE})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET", "HEAD"])])
