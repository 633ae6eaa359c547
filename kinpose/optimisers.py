"""Optimisers that optax does not have."""

from kinpose.extras import needs

with needs("train"):
    import optax


def caffe_sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Caffe's solver, which the paper's settings are written for.

    velocity = momentum * velocity + rate * (gradient + decay * weight), and the weight loses
    the velocity: the rate enters the velocity, so that a lower rate takes effect slowly, and
    the decay is an L2 term of the loss, on all weights.

    Args:
      learning_rate: a number, or a function of the step.
      momentum: share of the velocity that stays.
      weight_decay: factor of the L2 term.

    Returns:
      The optimiser.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
        optax.trace(momentum),
    )


def one_cycle_adam(
    num_steps: int, peak: float = 1e-3, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam with a rate that rises and falls once (Smith and Topin, 2018), by optax's schedule.

    Args:
      num_steps: of the training.
      peak: the highest rate.
      weight_decay: decoupled decay of all weights (AdamW).

    Returns:
      The optimiser.
    """
    rate = optax.cosine_onecycle_schedule(max(num_steps, 2), peak)
    return optax.adamw(rate, weight_decay=weight_decay) if weight_decay else optax.adam(rate)
