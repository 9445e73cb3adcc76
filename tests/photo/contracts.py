"""Contracts for hypothesis: every fit, interpolation and colour, small sizes of any aspect ratio."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from vegrt.photo.contract import Contract, Fit, Interpolation, NetworkColor, PadPosition, Rounding

SIDES = st.integers(1, 300)
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    height, width = draw(SIDES), draw(SIDES)
    color = draw(st.sampled_from(get_args(NetworkColor)))
    channels = 1 if color == "L" else 3
    fit = draw(st.sampled_from(get_args(Fit)))
    margin = draw(st.sampled_from([0, 0, 17]))
    return Contract(
        size=(height, width),
        resize=(height + margin, width + margin),
        mean=draw(st.tuples(*[st.floats(0, 1)] * channels)),
        std=draw(st.tuples(*[st.floats(0.01, 1)] * channels)),
        icc=draw(st.sampled_from(["srgb", "ignore"])),
        fit=fit,
        interpolation=draw(st.sampled_from(get_args(Interpolation))),
        antialias=draw(st.booleans()),
        fill=draw(COLOURS) if fit == "letterbox" else (0, 0, 0),
        pad_position="center" if margin or fit != "letterbox" else draw(st.sampled_from(get_args(PadPosition))),
        background=draw(st.none() | COLOURS),
        rounding=draw(st.sampled_from(get_args(Rounding))),
        network_color=color,
    )
