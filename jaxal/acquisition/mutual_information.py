"""Points that are like those of a query set, as a set: submodular mutual information.

Of its other forms, FLVMI is a coverage with a floor (`coverage.Cover`), GCMI a sum over the query set, and LogDetMI is in `determinants.py`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition.coverage import unit_rows

Array = jax.Array


def cosines(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of the angle between each point and each of others, `[points, dimensions]` and `[others, dimensions]` to `[points, others]`; zero of a
    vector without length.
    """
    return np.matmul(unit_rows(points), unit_rows(others).T)


@functools.partial(jax.jit, static_argnames="budget")
def most_mutual_information(similarity: Array, available: Array, budget: int, eta: float = 1.0) -> tuple[Array, Array]:
    """Points that together are most like those of a query set: greedy by the facility-location mutual information FLQMI (Kothawade et al. 2021,
    arXiv 2107.00717), Σ_q max_{i in A} s_iq + η Σ_{i in A} max_q s_iq.

    Args:
      similarity: of each point with each of the query set, `[points, queries]`, not negative.
      available: as for `k_center`.
      budget: points to choose, at most all that are available.
      eta: how much being like any one of the query set counts beside covering all of it.

    Returns:
      Places of the chosen points in order, `[budget]`, and by how much each added, `[budget]`. Ties go to the earlier point.
    """
    relevance = eta * similarity.max(-1)

    def choose(state: tuple[Array, Array], _: None):
        covered, left = state
        gains = jnp.where(left, jnp.maximum(similarity - covered[None, :], 0.0).sum(-1) + relevance, -jnp.inf)
        place = gains.argmax()
        return (jnp.maximum(covered, similarity[place]), left.at[place].set(False)), (place, gains[place])

    return jax.lax.scan(choose, (jnp.zeros(similarity.shape[1]), available), None, length=budget)[1]
