"""The step of a prediction as a file for Perfetto, with what it is said to be of."""

from __future__ import annotations

import json

from actprof.errors import UsageError
from actprof.prediction.predict import Prediction, step_timeline
from actprof.results import Verdict
from actprof.step_time.perfetto import perfetto_trace
from actprof.step_time.timeline import memory_course
from actprof.words import cell_command

NEVER_RAN = "predicted, never ran"
WITHOUT_LIMIT = "more than there is: the step is that of a GPU with as much as it needs"


def perfetto_json(told: Prediction) -> str:
    """Return the predicted step in the trace event format.

    Raises:
        UsageError: no step is predicted, as the speed of the GPU is unknown.
    """
    result = told.result
    timeline = step_timeline(told)
    if timeline is None or told.unlimited is None:
        reason = (
            result.reason
            if result.verdict == Verdict.UNKNOWN
            else f"the speed of {result.gpu.name} is unknown"
        )
        raise UsageError(f"there is no predicted step to write: {reason}")
    facts = {
        "what": NEVER_RAN,
        "run": cell_command(result.cell),
        "GPU": result.gpu.name,
        "host": timeline.step.host.name,
        **result.versions,
    }
    if told.limited is not None and told.limited.oom is not None:
        facts["memory"] = WITHOUT_LIMIT
    program = told.conditions.program(timeline.trace, timeline.batch_size)
    trace = perfetto_trace(timeline, facts, memory_course(timeline, told.unlimited, program))
    return json.dumps(trace, separators=(",", ":"))
