"""A model folder → a repository of the Hugging Face Hub, in one commit. Nothing is sent without --confirm.

Without it the files, their sizes and the target are listed, and no connection is made. A folder whose files are not,
to the byte, those that its manifest lists is refused. The token comes from HF_TOKEN, or from the Hub's own login file
(`hf auth login`).
"""

import os
import re
import sys
from typing import Any

from stages.command.options import parse
from stages.command.refusal import Refusal, Retryable
from stages.command.running import run
from stages.convert.options import Push
from stages.handover import storage
from stages.handover.manifests import MANIFEST, read_manifest
from stages.handover.storage import describe

# Formats that run code when they are loaded.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
# What a server says when it cannot now: too many requests, or a fault of its own.
LATER = (408, 429, 500, 502, 503, 504)


def main(arguments: list[str]) -> None:
    """Check the folder, say what there is, and upload it if that is confirmed."""
    given = parse(Push, "push", __doc__, arguments)
    files = checked_files(given.model)
    whose = "public" if given.public else "private"
    print(f"{given.model} → {given.repo} ({whose} where it is made anew)")
    for name, size in files.items():
        print(f"  {size:>13,}  {name}")
    print(f"  {sum(files.values()):>13,}  bytes in {len(files)} files")
    if not given.confirm:
        print("push: nothing was sent; CONFIRM=1 (--confirm) uploads these files", file=sys.stderr)
        return
    print(_upload(given, list(files)))


def checked_files(folder: str) -> dict[str, int]:
    """The files of a model folder with their bytes, the manifest too. Refusal for a folder that is not what convert
    wrote: without manifest, with other files, or with other bytes.
    """
    if storage.remote(folder):
        raise Refusal(f"{folder} is in a bucket; make download fetches it, then push the folder here")
    listed = read_manifest(folder, "convert")["files"]
    present = storage.files_below(folder)
    for name in [*listed, *present]:
        if os.path.islink(os.path.join(folder, name)):
            raise Refusal(f"{os.path.join(folder, name)} is a link; push takes files alone")
        if name not in present:
            raise Refusal(f"{os.path.join(folder, name)} is missing; make convert again")
        if name not in listed and name != MANIFEST:
            raise Refusal(f"{os.path.join(folder, name)} is not of the model: {MANIFEST} does not list it; remove it")
        if name.endswith(PICKLES):
            raise Refusal(f"{os.path.join(folder, name)} is of a format that may run code when it is loaded; remove it")
        if name != MANIFEST:
            described = describe(os.path.join(folder, name))
            if {key: listed[name][key] for key in described} != described:
                raise Refusal(f"{os.path.join(folder, name)} is not what convert wrote (its SHA-256 differs)")
    return dict(present)


def _upload(given: Push, names: list[str]) -> str:
    """One commit with all files; gives its address. The Hub's errors, each in one line."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not get_token():
        raise Refusal("there is no token for the Hub: set HF_TOKEN, or log in with hf auth login")
    hub = HfApi(library_name="albert-ja")
    try:
        hub.create_repo(given.repo, private=not given.public, exist_ok=True)
        adding = [CommitOperationAdd(name, os.path.join(given.model, name)) for name in names]
        done = hub.create_commit(given.repo, adding, commit_message=given.message)
    except HfHubHTTPError as error:
        raise _refused(given.repo, error)
    except HFValidationError as error:
        raise Refusal(f"the Hub takes no repository {given.repo}: {_first_line(error)}")
    except OfflineModeIsEnabled:
        raise Refusal("HF_HUB_OFFLINE is set, so that nothing can be sent; unset it")
    except (OSError, RuntimeError, ValueError) as error:
        # Connections that fail, and what the Hub's own storage client says of them.
        raise Retryable(
            f"{given.repo} was not reached or broke off: {_first_line(error)}; the same command tries again"
        )
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise Retryable(f"the Hub cannot be reached: {_first_line(error)}; the same command tries again")
        raise
    return str(done.commit_url)


def _refused(repo: str, error: Any) -> Refusal:
    """What the Hub's answer means for a person."""
    status = error.response.status_code if error.response is not None else None
    if status in LATER:
        return Retryable(f"the Hub cannot take {repo} now (HTTP {status}); the same command tries again")
    meaning = {
        400: "the Hub found something wrong with it",
        401: "the Hub does not know the token; make a new one, with the right to write",
        403: "the token has no right to write there; take one that has, or another --repo",
        404: "there is no such user or repository, or the token may not see it",
        409: "it has changed meanwhile; run the command again",
    }.get(status or 0, "the Hub refused it")
    return Refusal(f"{repo}: {meaning} (HTTP {status}: {_first_line(getattr(error, 'server_message', '') or error)})")


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    # A token is never in a message; should a server send one back, it is not shown.
    return re.sub(r"hf_\w+", "hf_…", lines[0]) if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(run("push", main))
