# SPDX-License-Identifier: Apache-2.0
"""The Grafana dashboard: every metric and label in its queries is one that Postern has, and its layout holds."""
import json
import re
import urllib.error
import urllib.request

import pytest
from harness import answers, process
from harness.wire import TIMEOUT
from manifests import DEPLOY, ROOT

DASHBOARD = json.loads((DEPLOY / "grafana" / "postern.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
METRIC = re.compile(r"\b(?:postern|gen_ai|process)_[a-z0-9_]+(?=[{\[])")
# What the scraping adds.
SCRAPED = {"namespace", "pod", "le"}
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")


def declared():
    """name -> labels, from the table of families and the gauges that are rendered apart."""
    table = (ROOT / "proxy" / "gateway" / "metrics_series.c").read_text()
    families = {}
    for name, rest in re.findall(r"\[METRIC_\w+\] =\s*\{\s*\"(\w+)\",(.*?)(?=\[METRIC_|\n\};)", table, re.S):
        labels = set(re.findall(r"\"(\w+)\"", rest[rest.index("LABELS(") if "LABELS(" in rest else len(rest):]))
        families[name] = labels | ({"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"} if "GEN_AI" in rest else set())
    return families


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """name -> labels of what a gateway shows that has answered one of each: a completion, a stream, a refusal."""
    config = {"targets": [{"name": "model", "mock": {}}], "models": [{"name": "*", "targets": ["model"]}],
              "filters": {"rate_limit": {"limits": [{"name": "few", "requests": "2/day"}]}}, "listener": {"filters": ["rate_limit"]}}
    gateway = process.Gateway(tmp_path_factory.mktemp("dashboard"), config)
    try:
        for stream in (False, True, False):
            request = urllib.request.Request(f"{gateway.base_url}/v1/chat/completions", answers.ask(stream=stream).encode(),
                                             {"Content-Type": "application/json"})
            try:
                urllib.request.urlopen(request, timeout=TIMEOUT).read()
            except urllib.error.HTTPError as refused:
                assert refused.code == 429
        found = {}
        for line in gateway.metrics().splitlines():
            if not line.startswith("#"):
                name, _, labels = re.match(r"(\w+)(\{(.*)\})? ", line).groups()
                found.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels or ""))
        return found
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def known(live):
    return {**declared(), **live}


def base(name):
    return next((name.removesuffix(part) for part in HISTOGRAM_PARTS if name.endswith(part)), name)


@pytest.mark.parametrize("title, query", QUERIES, ids=[f"{title}-{number}" for number, (title, _) in enumerate(QUERIES)])
def test_query_names_what_exists(known, title, query):
    metrics = METRIC.findall(query)
    assert metrics
    allowed = set(SCRAPED)
    for name in metrics:
        assert name in known or base(name) in known, f"{title}: there is no metric {name}"
        allowed |= known.get(name, set()) | known.get(base(name), set())
    used = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    used |= {label for group in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", group)}
    assert used <= allowed, f"{title}: {used - allowed}"
    legends = {name for panel in PANELS if panel["title"] == title for target in panel["targets"] if target["expr"] == query
               for name in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])}
    assert legends <= used | {"pod"}
    assert query.count("(") == query.count(")") and query.count("{") == query.count("}")


def test_live_metrics_are_declared_as_the_test_believes(live):
    """So that a name read from the source is as good as one that was seen."""
    table = declared()
    seen = {base(name) for name in live} & set(table)
    assert {"postern_requests_total", "postern_attempts_total", "gen_ai_client_operation_duration_seconds", "postern_limit_total"} <= seen
    for name in seen:
        parts = [labels for found, labels in live.items() if base(found) == name]
        assert set().union(*parts) - {"le"} == table[name], name


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
