"""Executes a notebook with nbclient: execute.py <notebook> <folder to run in> <executed notebook>. Prints how long each cell takes."""

import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

source, folder, target = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
code = [cell for cell in notebook.cells if cell.cell_type == "code"]
starts = {}


def on_start(cell, cell_index):
    starts[cell_index] = time.monotonic()


def on_executed(cell, cell_index, execute_reply):
    seconds = time.monotonic() - starts[cell_index]
    print(f"  cell {code.index(cell) + 1} of {len(code)}: {seconds:.1f} s", flush=True)


client = NotebookClient(
    notebook,
    timeout=None,
    kernel_name="deno",
    resources={"metadata": {"path": folder}},
    on_cell_start=on_start,
    on_cell_executed=on_executed,
    record_timing=False,
)
try:
    client.execute()
except CellExecutionError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
finally:
    with open(target, "w", encoding="utf-8") as file:
        file.write(nbformat.writes(notebook, indent=1) + "\n")
