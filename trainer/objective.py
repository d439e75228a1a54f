"""What fitting minimises: errors of reconstructions from corrupted windows, and penalties beside them.

Tensors have leading axes of M machines and N windows; it is the same for every kind of autoencoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.keras_backend import Tensor, load
from trainer.networks import Network, Purpose, split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from config.training import Model as ModelSettings

PATTERNS = 64  # of noise, after which they recur: what a window gets does not depend on how many follow
SMALL = 1e-7  # keeps the logarithm of a probability finite, as in Keras


@dataclass(frozen=True, slots=True)
class Objective:
    """The wishes for what is minimised; see `config.training.Model`."""

    loss: str = "mse"
    noise: float = 0.0
    masking: float = 0.0
    sparsity: float = 0.0
    contraction: float = 0.0
    l2: float = 0.0

    @classmethod
    def of(cls, settings: ModelSettings) -> Objective:
        """What the settings say."""
        return cls(
            settings.loss,
            settings.noise,
            settings.masking,
            settings.sparsity,
            settings.contraction,
            settings.l2,
        )

    def errors(self, rebuilt: Tensor, windows: Tensor, binary: NDArray[np.bool_]) -> Tensor:
        """The mean error of each window, shape (M, N); the cross-entropy of sensors that are binary."""
        _, tf = load()
        errors = _ERRORS[self.loss](rebuilt - windows)
        if binary.any():
            likely = tf.clip_by_value(rebuilt, SMALL, 1 - SMALL)
            surprise = -windows * tf.math.log(likely) - (1 - windows) * tf.math.log(1 - likely)
            errors = tf.where(binary, surprise, errors)
        return tf.reduce_mean(errors, axis=(2, 3))

    def fitted(
        self, network: Network, weights: list[Tensor], windows: Tensor, centre: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What one step lessens, but for `decay`.

        Args:
            network: Of all machines.
            weights: Its weights.
            windows: Shape (M, N, T, F).
            centre: Each sensor's mean, shape (M, F), which a masked one gets.
            seed: Two whole numbers.

        Returns:
            The errors of the windows, and what is added to them, both of shape (M, N).
        """
        _, tf = load()
        seen = self.corrupted(windows, centre, seed)
        code, spread = network.encode(weights, seen, seed)
        drawn = code
        if spread is not None:
            drawn += tf.exp(spread / 2) * tf.random.stateless_normal(
                tf.shape(code)[1:], split(seed, Purpose.CODE)
            )
        errors = self.errors(network.decode(weights, drawn, seed), windows, network.binary)
        added = tf.zeros_like(errors)
        if self.sparsity:
            added += self.sparsity * tf.reduce_mean(tf.abs(code), axis=2)
        if self.contraction:
            added += self.contraction * _slope(network, weights, seen, seed)
        if spread is not None:
            # The divergence from the standard normal distribution, weighted as where the decoder's
            # variance is the best one (Rybkin et al.: Simple and effective VAE training, 2021).
            divergence = tf.reduce_sum(tf.exp(spread) + tf.square(code) - 1 - spread, axis=2)
            level = tf.stop_gradient(tf.reduce_mean(errors, axis=1, keepdims=True))
            cells = tf.cast(tf.reduce_prod(tf.shape(windows)[2:]), tf.float32)
            added += level * divergence / cells
        return errors, added

    def decay(self, network: Network, weights: list[Tensor]) -> Tensor:
        """The penalty on large weights, shape (M,)."""
        _, tf = load()
        kernels = [weight for weight, kernel in zip(weights, network.kernels, strict=True) if kernel]
        squares = [tf.reduce_sum(tf.square(one), axis=range(1, len(one.shape))) for one in kernels]
        return self.l2 * tf.add_n(squares) if self.l2 else 0.0

    def corrupted(self, windows: Tensor, centre: Tensor, seed: Tensor) -> Tensor:
        """Windows (M, N, T, F) with noise on all values and some sensors at their mean; see `fitted`.

        All machines get the same. Vincent et al.: Stacked denoising autoencoders (2010).
        """
        _, tf = load()
        _, count, length, width = tf.unstack(tf.shape(windows))
        pattern = tf.range(count) % PATTERNS
        if self.noise:
            noise = tf.random.stateless_normal((PATTERNS, length, width), split(seed, Purpose.NOISE))
            windows += self.noise * tf.gather(noise, pattern)
        if self.masking:
            drawn = tf.random.stateless_uniform((PATTERNS, 1, width), split(seed, Purpose.MASKING))
            windows = tf.where(tf.gather(drawn, pattern) < self.masking, centre[:, None, None, :], windows)
        return windows


def _slope(network: Network, weights: list[Tensor], windows: Tensor, seed: Tensor) -> Tensor:
    """The mean over the code of its elements' squared gradients by the window, shape (M, N), estimated.

    Rifai et al.: Contractive auto-encoders (2011). The squared norm of a Jacobian is the mean of those
    of its products with random vectors (Hutchinson, 1990); one for each window is enough.
    """
    _, tf = load()
    with tf.GradientTape() as tape:
        tape.watch(windows)
        code, _ = network.encode(weights, windows, seed)
        along = code * tf.random.stateless_normal(tf.shape(code)[1:], split(seed, Purpose.DIRECTION))
    slope = tape.gradient(along, windows)
    return tf.reduce_sum(tf.square(slope), axis=(2, 3)) / tf.cast(tf.shape(code)[2], tf.float32)


def _squared(difference: Tensor) -> Tensor:
    _, tf = load()
    return tf.square(difference)


def _absolute(difference: Tensor) -> Tensor:
    _, tf = load()
    return tf.abs(difference)


def _huber(difference: Tensor) -> Tensor:
    """Squared up to 1, which is a standard deviation of a sensor, and growing evenly beyond."""
    _, tf = load()
    size = tf.abs(difference)
    return tf.where(size < 1, tf.square(size), 2 * size - 1)


_ERRORS = {"mse": _squared, "mae": _absolute, "huber": _huber}
