"""Rules of a user's, with what C has to be able to say: for tests that compare backends bit by bit."""

import math

from fastopt import clip, fma, rule, sign, where

SMALL, FLOOR = 1e-3, -0.0


@rule
def literals(p, g, velocity, *, lr=0.01, beta=0.9):
    """Numbers of every kind; v = βv + ½g;  p −= ηv/3"""
    velocity: float = fma(beta, velocity, 0.5 * g)
    half = 1 / 2
    unchanged = velocity
    velocity += SMALL * 2**-3 + FLOOR
    velocity -= -(-half) * SMALL - half * SMALL  # noqa: B002
    return fma(-lr / 3, unchanged, +p * 1), velocity


def mean_and_square(g, average, square, beta, scale):
    average = fma(beta, average, (1 - beta) * g)
    return average, fma(beta, square, scale * (g * g))


def is_large(x, limit):
    return abs(x) > limit and not x > 1e30


@rule
def helpers(p, g, average, square, *, lr=0.01, beta=0.9):
    average, square = mean_and_square(g, average, scale=1.0, beta=beta, square=square)
    quotient = average / (math.sqrt(square) + SMALL)
    large = is_large(quotient, 0.5) or quotient != quotient
    quotient, unused = (clip(quotient, -1.0, 1.0) if large else quotient), quotient
    return fma(-lr, quotient, p) + (unused - unused), average, square


def enclosing(factor, moves):
    @rule
    def enclosed(p, g, *, lr=0.01):
        return where(moves, fma(-lr * factor, sign(g), p), p)

    return enclosed


enclosed, enclosed_differently = enclosing(0.375, True), enclosing(3, True)
first_lambda, second_lambda = (
    rule(f) for f in (lambda p, g, *, lr=0.01: p - lr * g, lambda p, g, *, lr=0.01: p + lr * g)
)


class Family:
    @staticmethod
    def update(p, g, *, lr=0.01):
        return (p - lr * g) if 0 < g <= 1 else p


of_a_class = rule(Family.update)


@rule
def words_of_c(p, g, double, int_, c, größe, *, lr=0.01, size=0.5):
    double, int_, c = fma(size, double, g), int_ + c, c + lr
    return fma(-lr, double + int_, p), double, int_, c, größe - g


@rule(sums=("long", "g"))
def scaled_by_norms(p, g, average, *, beta):
    """A rule of two sweeps: p −= η·‖p‖/‖m‖·m"""
    average = fma(beta, average, (1 - beta) * g)
    return p, average, (average, average), (p, p)


@scaled_by_norms.coefficients
def coefficients(t, *, lr=0.01, beta=0.9):
    return {"lr": lr, "beta": beta}


@scaled_by_norms.number
def step_size(lr, long, g):
    return lr * math.sqrt(g) / (math.sqrt(long) + 1e-8)


@scaled_by_norms.sweep()
def apply(p, average, *, step_size):
    return fma(-step_size, average, p), average


ALL = {
    "literals": literals,
    "helpers": helpers,
    "enclosed": enclosed,
    "enclosed_differently": enclosed_differently,
    "first_lambda": first_lambda,
    "second_lambda": second_lambda,
    "of_a_class": of_a_class,
    "words_of_c": words_of_c,
    "scaled_by_norms": scaled_by_norms,
}
