"""Tell which format a path is of: by its suffix, or by the files in a folder."""

from pathlib import Path

from emgauss_jax.data.errors import InputError
from emgauss_jax.data.formats.interface import Format
from emgauss_jax.data.formats.registry import BY_CONTENTS, BY_MEMBER, BY_NAME, BY_SUFFIX


def suffix_of(path: Path) -> str:
    """Return the suffix that names the format: ".nii.gz" of "x.nii.gz", ".tif" of "x.ome.tif"."""
    two = "".join(path.suffixes[-2:]).lower()
    return two if two in BY_SUFFIX else path.suffix.lower()


def is_pattern(path: Path) -> bool:
    """Tell whether a path stands for several files, as `data/slice_*.tif` does."""
    return bool(set("*?[") & set(str(path))) and not path.exists()


def format_of(path: Path) -> Format:
    """Tell the format of an existing file or folder, or of a pattern of file names."""
    if is_pattern(path):
        return next(form for form in BY_NAME.values() if form.members)
    by_suffix = BY_SUFFIX.get(suffix_of(path))
    if path.is_dir():
        for name, form in BY_CONTENTS.items():
            if (path / name).is_file():
                return form
        if by_suffix and by_suffix.contents:
            return by_suffix
        members = {each.suffix.lower() for each in path.iterdir()} & BY_MEMBER.keys()
        if members:
            return BY_MEMBER[members.pop()]
        raise InputError(
            f"{path}: got a folder, wanted one with any of {', '.join(BY_CONTENTS)}, or with one "
            f"image per slice ({', '.join(BY_MEMBER)})"
        )
    if by_suffix is None or by_suffix.contents:
        wanted = [suffix for suffix, form in BY_SUFFIX.items() if not form.contents]
        raise InputError(f"{path}: got a file, wanted one with suffix {', '.join(wanted)}")
    return by_suffix


def format_for(path: Path, wanted: str | None) -> Format:
    """Choose the format of a path to be written."""
    suffix = suffix_of(path)
    form = BY_NAME.get(wanted) if wanted else BY_SUFFIX.get(suffix)
    if form is None:
        written = [each for each, owner in BY_SUFFIX.items() if each in owner.suffixes]
        known = ", ".join(BY_NAME if wanted else written)
        raise InputError(f"{path}: format: got {wanted or path.suffix!r}, wanted one of {known}")
    if suffix in form.read_suffixes:
        wanted_suffixes = ", ".join(form.suffixes)
        raise InputError(f"{path}: got {suffix}, which is only read, wanted {wanted_suffixes}")
    # a folder is recognised by the files in it, a file by its suffix alone
    nameless_folder = suffix not in BY_SUFFIX and form.contents
    if suffix not in form.suffixes and not nameless_folder:
        raise InputError(f"{path}: format: got {form.name}, wanted one that has this suffix")
    return form
