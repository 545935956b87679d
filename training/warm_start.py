"""Training that goes on from a released hypernetwork, for another base model of the same shape or for other data."""

from pathlib import Path

from hypernet.errors import CheckpointMismatch
from hypernet.hypernetworks import Hypernetwork, load_checkpoint


def start_from(hypernetwork: Hypernetwork, folder: Path) -> None:
    """Give ``hypernetwork`` the weights of the one in ``folder``.

    Raises:
        CheckpointNotFound: there is no such folder.
        CheckpointInvalid: it holds no hypernetwork that can be read.
        CheckpointMismatch: that one is of another architecture or of other sizes.
    """
    found, _ = load_checkpoint(folder)
    if found.config != hypernetwork.config:
        differing = sorted(
            name for name, value in vars(hypernetwork.config).items() if vars(found.config).get(name) != value
        )
        raise CheckpointMismatch(
            f"The hypernetwork in {folder} is a {type(found).__name__} that differs from the configured "
            f"{type(hypernetwork).__name__} in {', '.join(differing)}. Configure `model.init_args.architecture`, "
            "`base` and `target_modules` as that one has them, or train without `start`."
        )
    hypernetwork.load_state_dict(found.state_dict())
