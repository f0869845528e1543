#!/usr/bin/env python3
"""Reads the event files of a directory as TensorBoard does and prints one JSON object: tag to [step, value] pairs."""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = EventAccumulator(sys.argv[1])
run.Reload()
tags = run.Tags()["scalars"]
json.dump({tag: [[event.step, event.value] for event in run.Scalars(tag)] for tag in tags}, sys.stdout)
