"""Runs ``cmedl-train`` many times over in processes that are killed: forked from one that has imported everything.

A line of JSON on standard input is one command: its ``arguments``, and perhaps an ``aim``, where it kills itself, with
a ``count`` of how many times it gets there before. Answers are lines: the process's number, and after an empty line, as
soon as it has ended, its wait status. Until that line its number belongs to no other process.
"""

import json
import os
import signal
import sys
from pathlib import Path


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at(count, before):
    """A function that calls ``before`` and dies at its ``count``th call, and else does what ``action`` does."""
    calls = iter(range(1, count + 1))

    def wrap(action):
        def called(*arguments, **named):
            if next(calls) == count:
                before(*arguments, **named)
                killed()
            return action(*arguments, **named)

        return called

    return wrap


def take_aim(aim, count):
    """Let this process die there: with half a checkpoint or half an event written, or a case extracted."""
    from CMEDLTrainLib.cohort import preparation
    from CMEDLTrainLib.runs import run_folder
    from CMEDLTrainLib.training import checkpoints

    write = checkpoints.save_file

    def half_a_checkpoint(tensors, path, metadata):
        write(tensors, path, metadata)
        os.truncate(path, path.stat().st_size // 2)

    def half_an_event(run, event, **figures):
        with run.events.open("a", encoding="utf-8") as stream:
            stream.write(f'{{"time": 1.0, "event": "{event}", "st')

    if aim == "checkpoint":
        checkpoints.save_file = at(count, half_a_checkpoint)(write)
    elif aim == "renaming":
        Path.replace = at(count, lambda *_: None)(Path.replace)
    elif aim == "event":
        run_folder.Run.report = at(count, half_an_event)(run_folder.Run.report)
    elif aim == "slices":
        preparation.extract_case = at(count, lambda *_: None)(preparation.extract_case)


def main():
    import SimpleITK  # noqa: F401
    import skimage.measure  # noqa: F401
    import torch

    from CMEDLTrainLib.cli import main
    from CMEDLTrainLib.training import train_run  # noqa: F401

    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports torch's compiler: seconds
    print("ready", flush=True)
    while line := sys.stdin.readline():
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if "aim" in command:
                take_aim(command["aim"], command["count"])
            os._exit(main(command["arguments"]))
        print(child, flush=True)
        sys.stdin.readline()
        _, ended = os.waitpid(child, 0)
        print(ended, flush=True)


if __name__ == "__main__":
    main()
