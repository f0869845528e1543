#!/usr/bin/env python3
"""Writes golden/tensorboard.events with TensorBoard's own writer: what src/report/tensorboard.rs must equal.

    venv/bin/python tests/oracle/make_tensorboard.py
"""
import math
import os

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "tensorboard.events")


def told(step, loss, lr):
    values = [Summary.Value(tag="train/loss", simple_value=loss), Summary.Value(tag="train/lr", simple_value=lr)]
    return Event(step=step, summary=Summary(value=values))


with open(GOLDEN, "wb") as file:
    writer = RecordWriter(file)
    for event in [
        Event(file_version="brain.Event:2"),
        Event(step=300, session_log=SessionLog(status=SessionLog.START)),
        told(1, 0.5, 0.01),
        told(300, 0.25, math.nan),
        told(3_000_000_000, -1.5, math.inf),
    ]:
        event.wall_time = 1_700_000_000.5
        writer.write(event.SerializeToString())
