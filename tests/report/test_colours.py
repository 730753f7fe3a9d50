import pytest

from cofire.report.colours import DARK, LIGHT, contrast, correlation_class, correlation_styles


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_shade_carries_readable_text(theme):
    for name, ground, ink in correlation_styles(theme):
        assert contrast(ground, ink) >= 4.5, name


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_series_stand_out(theme):
    assert contrast(theme.ink, theme.surface) >= 7
    assert contrast(theme.muted, theme.surface) >= 4.5
    for colour in theme.series:
        assert contrast(colour, theme.surface) >= 3, colour


def test_red_is_negative_and_blue_is_positive():
    (_, lowest, _), *_, (_, highest, _) = correlation_styles(LIGHT)
    assert int(lowest[1:3], 16) > int(lowest[5:7], 16)
    assert int(highest[1:3], 16) < int(highest[5:7], 16)


def test_a_class_for_every_correlation():
    assert {correlation_class(i / 100) for i in range(-100, 101)} == {
        name for name, _, _ in correlation_styles(LIGHT)
    }
