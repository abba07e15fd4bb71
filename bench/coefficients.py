#!/usr/bin/env python3
"""The coefficients of src/device/shared/math_functions.h, and how far each polynomial is off.

Needs mpmath. Each function is divided by what its polynomial is multiplied with; coefficients
are rounded one after the other, and the later ones make good what that cost.
"""

import mpmath
from mpmath import atanh, cos, erf, erfc, exp, log, mp, mpf, pi, sin, sqrt, tanh

mp.prec = 260
FLOAT, DOUBLE = 24, 53
HALF_LN2 = log(2) / 2 * mpf("1.001")
LOG_END = ((sqrt(2) - 1) / (sqrt(2) + 1) * mpf("1.0001")) ** 2
ANGLE_END = (pi / 4 * mpf("1.01")) ** 2


def rounded(x, bits):
    mantissa, exponent = mpmath.frexp(x)
    return mpmath.ldexp(mpmath.nint(mpmath.ldexp(mantissa, bits)), exponent - bits)


def least(points, weights, wanted, fixed, count):
    """Coefficients after `fixed` that make the largest weighted error nearly least: least squares
    whose weights follow the errors. Source: Lawson 1961."""
    first, size = len(fixed), count - len(fixed)
    rest = [y - sum(c * x**i for i, c in enumerate(fixed)) for x, y in zip(points, wanted)]
    powers = [[x ** (first + j) for j in range(size)] for x in points]
    shares = [mpf(1) / len(points)] * len(points)
    best, best_error = None, mpmath.inf
    for _ in range(25):
        matrix, right = mpmath.matrix(size, size), mpmath.matrix(size, 1)
        for p, w, y, share in zip(powers, weights, rest, shares):
            for i in range(size):
                right[i] += p[i] * y * w * w * share
                for j in range(size):
                    matrix[i, j] += p[i] * p[j] * w * w * share
        found = list(mpmath.lu_solve(matrix, right))
        errors = [abs(y - sum(c * q for c, q in zip(found, p))) * w
                  for p, w, y in zip(powers, weights, rest)]
        if max(errors) < best_error:
            best, best_error = found, max(errors)
        total = sum(share * error for share, error in zip(shares, errors))
        shares = [share * error / total for share, error in zip(shares, errors)]
    return best


def fit(name, function, count, begin, end, bits, weight=lambda x: mpf(1)):
    """`count` coefficients for begin <= x <= end, rounded to `bits`; the error counts times
    `weight`."""
    begin, end, number = mpf(begin), mpf(end), 12 * count
    points = [(begin + end) / 2 - (end - begin) / 2 * cos(pi * (2 * i + 1) / (2 * number))
              for i in range(number)]
    weights, wanted = [weight(x) for x in points], [function(x) for x in points]
    fixed = []
    while len(fixed) < count:
        fixed.append(rounded(least(points, weights, wanted, fixed, count)[0], bits))
    error = max(abs(y - sum(c * x**i for i, c in enumerate(fixed))) * w
                for x, y, w in zip(points, wanted, weights))
    print(f"{name}, {bits} bits: 2^{float(mpmath.log(error, 2)):.1f}")
    print("   ", ", ".join(float(c).hex() for c in fixed))


def odd(function, first):
    """(function(x) / x - first) / x^2 by x^2."""
    def divided(z):
        x = sqrt(z)
        return (function(x) / x - first) / z
    return divided


def main():
    for bits, count in (FLOAT, 5), (DOUBLE, 10):
        fit("exp", lambda r: (exp(r) - 1 - r) / r**2, count, -HALF_LN2, HALF_LN2, bits,
            lambda r: r**2)
    for bits, count in (FLOAT, 4), (DOUBLE, 7):
        fit("log", odd(lambda s: 2 * atanh(s), 2), count, 0, LOG_END, bits, lambda z: z)
    fit("log in pow", lambda z: (3 * atanh(sqrt(z)) / sqrt(z) - 3 - z) / z**2, 8, 0, LOG_END,
        DOUBLE, lambda z: z**2)
    # For float: log and exp in double.
    fit("log in pow of float", odd(lambda s: 2 * atanh(s), 2), 4, 0, LOG_END, DOUBLE,
        lambda z: z)
    fit("exp in pow of float", lambda r: (exp(r) - 1 - r) / r**2, 6, -HALF_LN2, HALF_LN2,
        DOUBLE, lambda r: r**2)
    fit("tanh", odd(tanh, 1), 5, 0, mpf("0.625") ** 2, FLOAT, lambda z: z)
    for bits, count in (FLOAT, 3), (DOUBLE, 6):
        fit("sin", odd(sin, 1), count, 0, ANGLE_END, bits, lambda z: z)
        fit("cos", lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2, count, 0, ANGLE_END, bits,
            lambda z: z**2)
    for bits, count, end in (FLOAT, 6, "0.92"), (DOUBLE, 12, "1"):
        fit("erf", lambda z: erf(sqrt(z)) / sqrt(z) - 1, count, 0, mpf(end) ** 2, bits)
    for bits, count, begin, end, shift in (FLOAT, 7, "0.9", 4, 0), (DOUBLE, 18, 0, 5, 1):
        def relative(x, shift=shift):
            return erfc(x + shift) / erf(x + shift)
        fit("-log erfc", lambda x, shift=shift: -log(erfc(x + shift)), count, begin, end, bits,
            relative)


main()
