"""Writes tests/golden/events/events.json: the bytes that TensorBoard's own record writer makes of a few events.

    pip install tensorboard && python scripts/golden/events.py [OUT]        # OUT defaults to tests/golden
"""

import io
import json
import sys
from pathlib import Path

import tensorboard
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

EVENTS = [
    dict(wall_time=1700000000.25, step=0, scalars=[["eval_loss", 2.5]]),
    dict(wall_time=1700000001.5, step=1, scalars=[["loss", -0.125], ["completions/mean_length", 17.0]]),
    dict(wall_time=1700000002.0, step=300, scalars=[["rewards/format/mean", 0.1]]),
    dict(wall_time=1700000003.0, step=2**40 + 5, scalars=[]),
]


class Kept(io.BytesIO):
    def close(self):
        pass


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "tests/golden"
    file = Kept()
    writer = RecordWriter(file)
    writer.write(Event(wall_time=1700000000.0, file_version="brain.Event:2").SerializeToString())
    for e in EVENTS:
        values = [Summary.Value(tag=tag, simple_value=number) for tag, number in e["scalars"]]
        writer.write(Event(wall_time=e["wall_time"], step=e["step"], summary=Summary(value=values)).SerializeToString())
    writer.flush()
    value = dict(recipe=dict(command="python scripts/golden/events.py", tensorboard=tensorboard.__version__), version_wall_time=1700000000.0,
                 events=EVENTS, file=file.getvalue().hex())
    (out / "events").mkdir(exist_ok=True)
    (out / "events/events.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
