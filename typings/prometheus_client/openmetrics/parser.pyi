# What is used of prometheus_client 0.16 and 0.21, of which the first has no types.
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float

class Metric:
    name: str
    type: str
    unit: str
    samples: Sequence[Sample]

def text_string_to_metric_families(text: str) -> Iterator[Metric]: ...
