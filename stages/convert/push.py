"""Upload a model folder to a repository of the Hugging Face Hub, in one commit. Nothing is sent without --confirm.

Without --confirm the command lists the files, their sizes and the target, and makes no connection. It refuses a folder
whose files are not, to the byte, those in its manifest. The token is that of HF_TOKEN or of the Hub's login file
(`hf auth login`).
"""

import os
import re
import sys

from stages.command.options import parse
from stages.command.refusal import Refusal, Retryable
from stages.command.running import run
from stages.convert.options import Push
from stages.handover import storage
from stages.handover.manifests import MANIFEST, read_manifest
from stages.handover.storage import describe

# Formats that may run code when they are loaded.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
# Answers to try again later: timeouts, too many requests, faults of the server.
TRANSIENT = (408, 429, 500, 502, 503, 504)
# The Hub's other answers, by HTTP status → the meaning for the user.
MEANINGS = {
    400: "the Hub found something wrong with it",
    401: "the Hub does not know the token; make a new one, with the right to write",
    403: "the token has no right to write there; take one that has, or another --repo",
    404: "there is no such user or repository, or the token may not see it",
    409: "it has changed meanwhile; run the command again",
}


def main(arguments: list[str]) -> None:
    """Check the folder, list its files, and upload them with --confirm."""
    options = parse(Push, "push", __doc__, arguments)
    files = checked_files(options.model)
    visibility = "public" if options.public else "private"
    print(f"{options.model} → {options.repo} ({visibility} where it is made anew)")
    for name, size in files.items():
        print(f"  {size:>13,}  {name}")
    print(f"  {sum(files.values()):>13,}  bytes in {len(files)} files")
    if not options.confirm:
        print("push: nothing was sent; CONFIRM=1 (--confirm) uploads these files", file=sys.stderr)
        return
    print(_upload(options, list(files)))


def checked_files(folder: str) -> dict[str, int]:
    """The files of a model folder, the manifest too, with their sizes in bytes.

    Raises Refusal for a folder without a manifest of convert, with other files, or with other bytes.
    """
    if storage.remote(folder):
        raise Refusal(f"{folder} is in a bucket; fetch it with make download, then push the local folder")
    listed = read_manifest(folder, "convert")["files"]
    present = storage.files_below(folder)
    for name in [*listed, *present]:
        path = os.path.join(folder, name)
        if os.path.islink(path):
            raise Refusal(f"{path} is a link; push takes only files")
        if name not in present:
            raise Refusal(f"{path} is missing; run make convert again")
        if name not in listed and name != MANIFEST:
            raise Refusal(f"{path} is not of the model: {MANIFEST} does not list it; remove it")
        if name.endswith(PICKLES):
            raise Refusal(f"{path} is of a format that may run code when it is loaded; remove it")
        if name != MANIFEST:
            description = describe(path)
            if {key: listed[name][key] for key in description} != description:
                raise Refusal(f"{path} is not what convert wrote (its SHA-256 differs)")
    return dict(present)


def _upload(options: Push, names: list[str]) -> str:
    """Upload the files in one commit. Returns its address. Raises Refusal, Retryable."""
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1")
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not get_token():
        raise Refusal("there is no token for the Hub: set HF_TOKEN, or log in with hf auth login")
    hub, repo = HfApi(library_name="albert-ja"), options.repo
    try:
        hub.create_repo(repo, private=not options.public, exist_ok=True)
        additions = [CommitOperationAdd(name, os.path.join(options.model, name)) for name in names]
        return str(hub.create_commit(repo, additions, commit_message=options.message).commit_url)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in TRANSIENT:
            raise Retryable(f"the Hub cannot take {repo} now (HTTP {status}); the same command tries again")
        meaning, answer = MEANINGS.get(status, "the Hub refused it"), _first_line(error.server_message or error)
        raise Refusal(f"{repo}: {meaning} (HTTP {status}: {answer})")
    except HFValidationError as error:
        raise Refusal(f"the Hub does not accept the name {repo}: {_first_line(error)}")
    except OfflineModeIsEnabled:
        raise Refusal("HF_HUB_OFFLINE is set, so nothing can be sent; unset it")
    except (OSError, RuntimeError, ValueError) as error:
        # The Hub's storage client reports a broken connection by one of these.
        raise Retryable(f"the connection to {repo} failed or broke: {_first_line(error)}; the same command tries again")
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise Retryable(f"the Hub cannot be reached: {_first_line(error)}; the same command tries again")
        raise


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    # A server might send the token back; it must not be shown.
    return re.sub(r"hf_\w+", "hf_…", lines[0]) if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(run("push", main))
