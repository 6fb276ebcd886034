"""A step → its learning rate, by ALBERT's optimization.py."""


def learning_rate(step: int, peak: float, steps: int, warmup: int) -> float:
    """The rate of the update from `step` to `step + 1`, in a run of `steps`.

    It rises linearly from 0 in the first `warmup` steps. After them it follows the line from `peak` at step 0 to 0 at
    the end, and so drops where the two meet.
    """
    if step < warmup:
        return peak * step / warmup
    return peak * (1 - min(step, steps) / steps)
