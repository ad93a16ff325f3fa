"""Philox, Box-Muller and the noise specification of docs/noise.md."""

import math

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.samplers import check_latents, check_seed, fresh_seed, noise, uniforms
from spar_engine.samplers.box_muller import cos_sin, logarithm, normals
from spar_engine.samplers.philox import philox

# Known answers of philox4x32-10 published with Random123: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

BITS = {  # seed, picture: the first eight values of docs/noise.md
    (0, 0): "3f7dbb33 bf6cb6b0 bf1e1b9f bef6d1b2 be1d5357 3e392a6d 3f54ec98 3e4a2da3",
    (0, 1): "3f88a6cb bed9c6b5 c0178cdf be6d0d85 3ecf57cf bf0d6118 bf887d8b 3f061779",
    (2**64 - 1, 0): "3f8c9ec9 3f21de8f 3f255714 3f3ac13d bf174864 40038e29 bf33358c bf3265e8",
    (1234567890123, 2**32 - 1): "bfdd6fb0 3f94687e bfa2056b bf585937 bfd3ce92 bf8530a6 bfc5954b 3f94834f",
}


def philox_in_python(counter, key):
    """The paper's rounds on Python integers."""
    x, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x[2], 2**32)
        x = [high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return x


def noise_in_python(seed, picture, size):
    """docs/noise.md with the C library's log, cos and sin, in float64."""
    made = []
    for block in range(-(-size // 4)):
        x = philox_in_python((block, 0, picture, 0), (seed % 2**32, seed >> 32))
        for first, second in ((x[0], x[1]), (x[2], x[3])):
            radius = math.sqrt(-2 * math.log((first + 1) / 2**32))
            angle = 2 * math.pi * second / 2**32
            made += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(made[:size])


@pytest.mark.parametrize(("counter", "key", "want"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, want):
    assert tuple(philox(np.array([counter], np.uint32), key)[0]) == want


def test_philox_equals_the_paper_on_random_counters():
    rng = np.random.default_rng(1)
    counters = rng.integers(0, 2**32, (50, 4), dtype=np.uint32)
    key = (0x12345678, 0x9ABCDEF0)
    want = [philox_in_python(map(int, counter), key) for counter in counters]
    np.testing.assert_array_equal(philox(counters, key), want)


@pytest.mark.parametrize(("seed", "picture"), BITS)
def test_noise_has_the_documented_bits(seed, picture):
    bits = noise(seed, (8,), first=picture)[0].view(np.uint32)
    assert " ".join(f"{value:08x}" for value in bits) == BITS[seed, picture]


def test_documentation_holds_the_same_bits(request):
    text = (request.config.rootpath / "docs" / "noise.md").read_text("utf-8")
    assert all(bits in text for bits in BITS.values())


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**64 - 1])
def test_noise_follows_the_specification(seed):
    got, want = noise(seed, (3, 5, 7), first=9)[0].ravel(), noise_in_python(seed, 9, 105)
    # both are within a few float64 roundings of the exact value, so their float32 roundings are neighbours at most
    assert np.abs(got - want).max() <= np.spacing(np.float32(8)) / 2
    assert (got == want.astype(np.float32)).mean() > 0.98


def test_logarithm_and_circle_are_accurate():
    words = np.concatenate([
        np.random.default_rng(2).integers(0, 2**32, 20_000, dtype=np.uint32),
        np.array([0, 1, 2**29 - 1, 2**29, 2**30, 2**31, 3 * 2**30, 2**32 - 1], np.uint32),
    ])  # fmt: skip
    u = (words.astype(np.float64) + 1) / 2**32
    np.testing.assert_allclose(logarithm(u), np.log(u), rtol=8 * 2.0**-53, atol=0)
    angle = 2 * np.pi * words.astype(np.float64) / 2**32
    cos, sin = cos_sin(words)
    np.testing.assert_allclose(cos, np.cos(angle), rtol=0, atol=16 * 2.0**-53)
    np.testing.assert_allclose(sin, np.sin(angle), rtol=0, atol=16 * 2.0**-53)


def test_extreme_words_stay_finite():
    words = np.array([[0, 0, 2**32 - 1, 0], [0, 2**31, 0, 2**30]], np.uint32)
    made = normals(words)
    assert np.isfinite(made).all()
    assert made[0, 0] == pytest.approx(math.sqrt(64 * math.log(2)), rel=1e-7)
    assert made[0, 2] == 0  # u = 1


def test_a_picture_does_not_depend_on_the_batch():
    together = noise(42, (4, 3, 3), count=5)
    for k in range(5):
        np.testing.assert_array_equal(noise(42, (4, 3, 3), first=k)[0], together[k])
    assert len({row.tobytes() for row in together}) == 5
    np.testing.assert_array_equal(noise(42, (2, 9, 2))[0].ravel(), together[0].ravel())


def test_both_halves_of_the_seed_count():
    drawn = {noise(seed, (16,)).tobytes() for seed in (0, 1, 2**32, 2**32 + 1, 2**63)}
    assert len(drawn) == 5


def test_noise_is_normal():
    values = np.sort(noise(3, (64, 32, 32), count=2).astype(np.float64).ravel())
    n = len(values)
    assert abs(values.mean()) < 5 / math.sqrt(n)
    assert abs(values.var() - 1) < 5 * math.sqrt(2 / n)
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in values])
    steps = np.arange(n + 1) / n
    distance = max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov at 0.1 %
    grid = noise(3, (64, 32, 32)).astype(np.float64)[0]
    for lag in (1, 2, 3, 4):
        flat = grid.ravel()
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 5 / math.sqrt(len(flat))


def test_token_stream_is_apart_from_the_noise_and_can_be_continued():
    drawn = uniforms(5, 1000)
    assert ((drawn > 0) & (drawn <= 1)).all()
    assert abs(drawn.mean() - 0.5) < 5 / math.sqrt(12 * 1000)
    np.testing.assert_array_equal(uniforms(5, 10, first=990), drawn[990:])
    assert drawn[0] == (philox_in_python((0, 0, 0, 1), (5, 0))[0] + 1) / 2**32


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "7", None, True, float("nan")])
def test_bad_seed(seed):
    with pytest.raises(InputError, match="seed="):
        check_seed(seed)


def test_good_seeds():
    assert check_seed(np.int64(3)) == 3
    assert check_seed(2**64 - 1) == 2**64 - 1
    assert 0 <= fresh_seed() < 2**32


def test_own_latents():
    good = np.arange(8, dtype=np.float64).reshape(2, 2, 2)
    got = check_latents(good, (2, 2, 2))
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    with pytest.raises(InputError, match=r"shape \(2, 2, 2\), expected \(2, 2, 3\)"):
        check_latents(good, (2, 2, 3))
    good[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="1 values that are not finite"):
        check_latents(good, (2, 2, 2))
    with pytest.raises(InputError, match="not finite"):
        check_latents(np.full((2, 2, 2), 1e300), (2, 2, 2))
    with pytest.raises(InputError, match="complex128"):
        check_latents(np.zeros((2, 2, 2), complex), (2, 2, 2))


def test_picture_index_out_of_range():
    with pytest.raises(InputError, match="picture index"):
        noise(0, (4,), first=2**32)
