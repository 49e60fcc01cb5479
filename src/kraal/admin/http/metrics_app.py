"""The Prometheus endpoint: `/metrics` and nothing else, on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import GCCollector, PlatformCollector
from prometheus_client.core import Metric as Family
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kraal.admin.http.exposition import CONTENT_TYPE, MetricsCollector, lines
from kraal.admin.http.process_figures import process_figures
from kraal.admin.http.responses import sliced_response
from kraal.admin.source import AdminSource


def build_metrics(source: AdminSource) -> Starlette:
    """The application of the metrics port."""
    collector, process = MetricsCollector(source), CollectorRegistry()
    exports_process = source.config.admin.export_process_info
    if exports_process:
        PlatformCollector(registry=process)
        GCCollector(registry=process)

    def families() -> Iterator[Family | None]:
        yield from collector.collect()
        if exports_process:
            yield from process_figures(source.figures().numbers)
            yield from process.collect()

    async def metrics(request: Request) -> Response:
        names = frozenset(request.query_params.getlist("name[]"))
        return sliced_response(lines(families(), names), 200, {"content-type": CONTENT_TYPE})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET", "HEAD"])])
