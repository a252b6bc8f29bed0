"""Render a fitted volume at any depths and write it, with its uncertainty if that is asked.

python -m emgauss_jax.reconstruct --workdir=DIR --output=PATH [--factor=F | --z_voxel_nm=F | --z=..]
    [--uncertainty=PATH] [--cluster=local|slurm --workers=N [--gpus=N] | --hosts=COUNT,INDEX|auto]
    [--input=ANOTHER_VOLUME [--input_voxel_nm=50,5,5] [--input_dataset=NAME]
    [--input_simulate_factor=K] [--input_missing=7,12] [--input_detect_missing]
    [--input_z_nm=0,45,101.5]]
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.handles import check_absent
from emgauss_jax.data.stack import whole_factor
from emgauss_jax.execution import command
from emgauss_jax.execution.executors import define_executor_flags, open_executor
from emgauss_jax.execution.jobs import Job, content_of, open_run, run_job
from emgauss_jax.pipeline.fitting import fitting_of
from emgauss_jax.pipeline.input_summary import place_note, summarise
from emgauss_jax.pipeline.output_grid import one_given, output_grid
from emgauss_jax.pipeline.run import Run
from emgauss_jax.pipeline.unseen_volume import UnseenVolume, without_damaged
from emgauss_jax.pipeline.writing import storage_warnings
from emgauss_jax.storage.files import read_json, write_json
from emgauss_jax.storage.locks import locked
from emgauss_jax.storage.network_file import read_learned


def define_flags() -> None:
    """Define the command's flags; importing this module defines none."""
    flags.DEFINE_string("workdir", None, "Folder of a finished train.")
    flags.DEFINE_string("output", None, "Volume to write; the suffix names the format.")
    flags.DEFINE_string("input", None, "Another volume, which the workdir's network has not seen.")
    flags.DEFINE_list("input_voxel_nm", None, "Its voxel size (z, y, x), where the file has none.")
    flags.DEFINE_string("input_dataset", "", "The array inside a container, or a TIFF series.")
    flags.DEFINE_integer("input_simulate_factor", 0, "k: keep every k-th slice of it.")
    flags.DEFINE_list("input_missing", None, "Its missing or damaged slices, counted from 0.")
    flags.DEFINE_bool("input_detect_missing", False, "Look for damaged ones, list and leave out.")
    flags.DEFINE_string("input_z_nm", "", "Depths of its slices, nm, or a file of them.")
    flags.DEFINE_string("uncertainty", None, "A second volume: standard errors, float32.")
    flags.DEFINE_float("factor", None, "Output planes for every observed slice.")
    flags.DEFINE_float("z_voxel_nm", None, "Distance of the output planes, nm.")
    flags.DEFINE_list("z", None, "Depths to render, in input-slice units: 1.5,2.25")
    define_executor_flags()


def unseen_of_flags(values: Any) -> UnseenVolume | None:
    """Tell which volume the flags name beside the workdir's own.

    Raises:
      InputError: settings of a volume that is not named, or a voxel size that is none.
    """
    names = (
        "input_voxel_nm", "input_dataset", "input_simulate_factor", "input_missing",
        "input_detect_missing", "input_z_nm",
    )  # fmt: skip
    if not values.input:
        given = [name for name in names if values[name].value]
        if given:
            raise InputError(f"flags: got {given} without --input, wanted it too")
        return None
    sizes = values.input_voxel_nm or ("0", "0", "0")
    voxel_nm = command.lengths("input_voxel_nm", sizes)
    factor = values.input_simulate_factor
    missing = command.whole_numbers("input_missing", values.input_missing)
    return UnseenVolume(
        values.input, values.input_dataset, voxel_nm, factor, missing, values.input_z_nm
    )


def check_outputs(output: str, uncertainty: str, known: Sequence[str] = ()) -> None:
    """Raise where an output cannot be: it is there and none of those known, or both are one."""
    for path in filter(None, (output, uncertainty)):
        if os.path.abspath(path) not in known:
            check_absent(pathlib.Path(path))
    if uncertainty and os.path.realpath(uncertainty) == os.path.realpath(output):
        raise InputError(f"uncertainty: got {uncertainty}, wanted another path than the output's")


def record_of(output: str) -> pathlib.Path:
    """Name the file beside an output that says, until all is done, what is drawn there."""
    path = pathlib.Path(output)
    return path.with_name(f".{path.name}.begun.json")


@contextlib.contextmanager
def at_work(run: Run, job: Job) -> Iterator[None]:
    """Keep others off the outputs of a job until they are done.

    Killed and started again, it goes on where one output is finished and the other is not.
    """
    output, record, content = pathlib.Path(job.output), record_of(job.output), content_of(run, job)
    with locked(output.with_name(f".{output.name}.lock")):
        begun = read_json(record) if record.exists() else {}
        known = begun["outputs"] if begun.get("content") == content else []
        check_outputs(job.output, job.uncertainty, known)
        paths = [os.path.abspath(path) for path in (job.output, job.uncertainty) if path]
        write_json(record, {"content": content, "outputs": paths})
        yield
        record.unlink()


def warn_of_factor(run: Run, workdir: pathlib.Path) -> None:
    """Say on stderr that a network is asked for another volume than it has learned to draw."""
    here, learned = whole_factor(run.observed), read_learned(workdir).factor
    factors = (learned, *(run.template.method.factors or ()))
    least, most = min(factors), max(factors)
    if not least <= here <= most:
        print(
            f"warning: {here} px from slice to slice, the network has learned from {learned}"
            f"{f' ({least} to {most})' if least < most else ''}: "
            "nothing is known of how well it does",
            file=sys.stderr,
        )


def main() -> None:
    """Read the flags and render."""
    values = flags.FLAGS
    if not values.workdir or not values.output:
        raise InputError("flags: wanted --workdir=DIR and --output=PATH")
    workdir, output = pathlib.Path(values.workdir), pathlib.Path(values.output)
    planes = one_given(z=values.z, z_voxel_nm=values.z_voxel_nm, factor=values.factor)
    unseen = unseen_of_flags(values)
    with open_executor(values, output.with_name(f".{output.name}.hosts")) as executor:
        # another process may come when all is written
        if executor.leads and not record_of(values.output).exists():
            check_outputs(values.output, values.uncertainty or "")
        if values.input_detect_missing:
            unseen = without_damaged(workdir, unseen)
        job = Job(str(workdir), False, values.output, planes, values.uncertainty or "", unseen)
        run = open_run(job)
        fitting_of(run.template.method).check_fitted(run, workdir)
        grid = output_grid(run.observed, job.asked)
        if executor.leads:
            for path in filter(None, (job.output, job.uncertainty)):
                for warning in storage_warnings(run, pathlib.Path(path), None, own=False):
                    print(warning, file=sys.stderr)
        if unseen:
            if executor.leads:
                print("\n".join(summarise(run.observed, grid).lines), file=sys.stderr)
            warn_of_factor(run, workdir)
            # Measured once, not by every worker.
            observed = run.observed
            known = unseen._replace(grey_range=observed.grey_range, absent=observed.absent)
            job = job._replace(unseen=known)
        with at_work(run, job) if executor.leads else contextlib.nullcontext():
            run_job(run, job, executor)
        if executor.leads:
            voxel = " x ".join(f"{nm:.6g}" for nm in grid.voxel_nm)
            if note := place_note(output, run.observed, grid):
                print(note, file=sys.stderr)
            print(f"{job.output}: {len(grid.z)} planes, voxel {voxel} nm (z, y, x)")


if __name__ == "__main__":
    define_flags()
    command.run(main)
